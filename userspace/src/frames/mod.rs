//! From the server's virtual addresses to physical frames, in bulk.
//!
//! Frames move (compaction, huge-page splits, NUMA balancing), so this is done when a list is made,
//! never remembered. Two ways lead there, and tests compare them on the same pages:
//!
//! | way | how | cost per 2 MiB |
//! |---|---|---|
//! | [`Walk`] | an eBPF program copies whole page tables out of the kernel | one 4 KiB copy |
//! | [`Pagemap`] | `/proc/PID/pagemap`, 512 entries and more a read | the kernel's own walk, about 28 ns an entry |
//!
//! The walk is faster and serves the list where the kernel's layout is known and proven
//! ([`KernelLayout`](probe_abi::KernelLayout)); pagemap serves it elsewhere.

mod btf;
mod kernel;
mod pagemap;
mod walk;

pub use btf::{Btf, BtfError};
pub use kernel::KernelError;
pub use pagemap::{Pagemap, PagemapError};
pub use walk::{Walk, WalkError};

use crate::memory::ServerAddr;

/// Size of the frames that are listed; also the unit of a migration's dirty bitmap.
pub const FRAME_BYTES: u64 = 4096;

/// A physical frame number: the guest-physical address divided by [`FRAME_BYTES`].
///
/// 32 bits reach 16 TiB; a frame above is treated as not known, and its page is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame(u32);

impl Frame {
    /// Not mapped, swapped out, or out of reach. (Frame 0 belongs to the firmware.)
    pub const ABSENT: Self = Self(0);

    /// A frame by its number.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        Self(u32::try_from(number).unwrap_or(0))
    }

    /// Its number, unless absent.
    #[must_use]
    pub fn number(self) -> Option<u64> {
        (self.0 != 0).then_some(u64::from(self.0))
    }

    /// Its guest-physical address, unless absent.
    #[must_use]
    pub fn address(self) -> Option<u64> {
        self.number().map(|number| number * FRAME_BYTES)
    }
}

/// Why frames could not be found.
#[derive(Debug, thiserror::Error)]
pub enum FramesError {
    /// The pagemap failed.
    #[error(transparent)]
    Pagemap(#[from] PagemapError),
    /// The walk failed.
    #[error(transparent)]
    Walk(#[from] WalkError),
}

/// The way that serves the list.
pub enum Frames {
    /// eBPF page-table walk.
    Walk(Box<Walk>),
    /// `/proc/PID/pagemap`.
    Pagemap(Pagemap),
}

impl Frames {
    /// The fastest way that works for process `pid`, and why the faster one does not, if so.
    ///
    /// # Errors
    /// When not even the pagemap works.
    pub fn open(pid: u32) -> Result<(Self, Option<WalkError>), FramesError> {
        match Walk::open(pid) {
            Ok(walk) => Ok((Self::Walk(Box::new(walk)), None)),
            Err(error) => Ok((Self::Pagemap(Pagemap::open(pid)?), Some(error))),
        }
    }

    /// Name for people.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Walk(_) => "eBPF page-table walk",
            Self::Pagemap(_) => "pagemap",
        }
    }

    /// Fills `out` with the frames from `start` (a multiple of [`FRAME_BYTES`]) on.
    ///
    /// # Errors
    /// When the process is gone or the kernel refuses.
    pub fn translate(&mut self, start: ServerAddr, out: &mut [Frame]) -> Result<(), FramesError> {
        match self {
            Self::Walk(walk) => Ok(walk.translate(start, out)?),
            Self::Pagemap(pagemap) => Ok(pagemap.translate(start, out)?),
        }
    }
}
