//! Pages of a VM's RAM: their size, their numbers, ranges of them, and how many there may be.
//!
//! The guest's agent, the hosts' program and the library in QEMU share it, so it needs neither a standard library
//! nor any other crate, and nothing in it panics.
//!
//! | number | of | type |
//! |---|---|---|
//! | guest-physical address | a byte | [`Gpa`] |
//! | guest frame, page of a RAM block | a page | `u64`, in a [`RamRange`] |
//! | page of a skip set | a page | [`PageIndex`] |

#![no_std]

mod limits;
mod range;

use core::fmt;

pub use limits::{
    MAX_NUMBERED_PAGES, MAX_RUN_PAGES, MAX_SET_BLOCKS, MAX_SET_PAGES, MAX_SET_RUNS,
    MAX_THROTTLE_PAGES,
};
pub use range::RamRange;

/// log2 of [`PAGE_BYTES`].
pub const PAGE_SHIFT: u8 = 12;
/// Bytes of a page of guest RAM as QEMU tracks it on x86-64; also of a frame.
pub const PAGE_BYTES: u64 = 1 << PAGE_SHIFT;
/// The same as a length in memory.
pub const PAGE_LEN: usize = 1 << PAGE_SHIFT;

/// log2 of [`UNIT_BYTES`].
pub const UNIT_SHIFT: u8 = 9;
/// Bytes of the unit that places on disks are counted in.
pub const UNIT_BYTES: u64 = 1 << UNIT_SHIFT;

/// Guest-physical address in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gpa(pub u64);

impl Gpa {
    /// Of the first byte of the frame with this number; `None` where no address is that high.
    #[must_use]
    pub const fn of_frame(number: u64) -> Option<Self> {
        match number.checked_mul(PAGE_BYTES) {
            Some(address) => Some(Self(address)),
            None => None,
        }
    }
}

impl fmt::Display for Gpa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Number of a page in the skip set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageIndex(pub u32);

impl fmt::Display for PageIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {} of the set", self.0)
    }
}
