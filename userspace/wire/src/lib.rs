//! The binary page list: what the guest hands to the host.
//!
//! Everything is little-endian. The host reads it in place from the guest's RAM, so it trusts nothing
//! of it: [`List::parse`] holds every count and length against [`Bounds`] before anything is allocated,
//! looks at each run once, and never panics. [`ListReader`] does the same piece by piece.
//!
//! ```text
//! offset size
//!      0    8  magic "PFPAGES\0"
//!      8    2  version (1)
//!     10    2  length of this header (64)
//!     12    2  length of a run (16)
//!     14    1  log2 of the frame size (12)
//!     15    1  log2 of the disk unit (9)
//!     16    4  page size of the database in bytes; 0 where it is of several with different ones
//!     20    4  number of block devices and share files, at most 64
//!     24    8  length of their table in bytes (a multiple of 8), at most what 64 names take
//!     32    8  number of runs, at most one a page of the VM's RAM
//!     40    8  number of database pages behind them
//!     48    8  CLOCK_MONOTONIC of the guest when the list was begun, in ns
//!     56    8  CLOCK_MONOTONIC when it was done, in ns
//!     64       devices table: per device
//!                2 kind (0 disk, 1 file on a share), 2 length of the name (at most 1024), then the
//!                name, padded with zeros to a multiple of 8; the entries fill the table
//!              runs: per run
//!                8 guest frame number (40 bits) | number of frames - 1 (24 bits) << 40
//!                8 place in disk units (48 bits) | index of the device << 48
//! ```
//!
//! Runs are sorted by device and place, so that the destination reads in disk order, and merged: frame
//! and place both go on from run to run nowhere. 40 bits of frames reach 4 PiB of RAM, 48 bits of
//! 512-byte units reach 128 PiB of disk.

mod bounds;
mod decode;
mod encode;
mod length;
pub mod protocol;
mod reader;
mod unite;

pub use bounds::Bounds;
pub use decode::{List, ListError, Runs};
pub use encode::{EncodeError, Encoder, Merger, encode, encode_head};
pub use length::encoded_bytes;
pub use reader::{ListReader, ReadError};
pub use unite::{Part, unite};

use page_number::{MAX_RUN_PAGES, PAGE_SHIFT, UNIT_SHIFT};

/// First bytes of a list.
pub const MAGIC: [u8; 8] = *b"PFPAGES\0";
/// Version that this crate writes and reads.
pub const VERSION: u16 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 64;
const HEADER_BYTES_FIELD: u16 = 64;
/// Bytes of one run.
pub const RUN_BYTES: usize = 16;
const RUN_BYTES_FIELD: u16 = 16;

/// Most block devices and share files of one list.
pub const MAX_DEVICES: usize = 64;
/// Longest name of one of them in bytes.
pub const MAX_NAME_BYTES: usize = 1024;
/// Longest table of them in bytes.
pub const MAX_TABLE_BYTES: usize = MAX_DEVICES * (4 + MAX_NAME_BYTES).next_multiple_of(8);

const FRAME_BITS: u32 = 40;
const UNIT_BITS: u32 = 48;

/// A run: guest frames that follow each other and whose bytes follow each other on one device.
///
/// Sixteen bytes in memory as on the wire; an 8 GiB pool scattered over single frames needs 32 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    // Place first: the derived order is the order of the list.
    place: u64,
    frames: u64,
}

impl Run {
    /// A run of `frames` guest frames from number `gfn`, whose bytes stand at unit `unit` of device
    /// `device`; `None` where a number does not fit its field.
    #[must_use]
    pub fn new(gfn: u64, frames: u32, device: u16, unit: u64) -> Option<Self> {
        let fits = gfn >> FRAME_BITS == 0
            && unit >> UNIT_BITS == 0
            && (1..=MAX_RUN_PAGES).contains(&frames);
        fits.then(|| Self {
            place: unit | u64::from(device) << UNIT_BITS,
            frames: gfn | u64::from(frames - 1) << FRAME_BITS,
        })
    }

    /// First guest frame number.
    #[must_use]
    pub const fn gfn(&self) -> u64 {
        self.frames & ((1 << FRAME_BITS) - 1)
    }

    /// Number of frames, 1 to [`MAX_RUN_PAGES`].
    #[must_use]
    pub const fn frames(&self) -> u32 {
        (self.frames >> FRAME_BITS) as u32 + 1
    }

    /// Index of the device in the devices table.
    #[must_use]
    pub const fn device(&self) -> u16 {
        (self.place >> UNIT_BITS) as u16
    }

    /// Place on the device in units of 512 bytes.
    #[must_use]
    pub const fn unit(&self) -> u64 {
        self.place & ((1 << UNIT_BITS) - 1)
    }

    /// Length in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        (self.frames() as u64) << PAGE_SHIFT
    }

    /// This run and `next` as one, when both frames and places go on without a gap.
    #[must_use]
    pub fn joined(&self, next: &Self) -> Option<Self> {
        let units = self.bytes() >> UNIT_SHIFT;
        let goes_on = self.device() == next.device()
            && self.unit() + units == next.unit()
            && self.gfn() + u64::from(self.frames()) == next.gfn();
        if !goes_on {
            return None;
        }
        Self::new(self.gfn(), self.frames() + next.frames(), self.device(), self.unit())
    }

    /// The same on another device.
    const fn on(self, device: u16) -> Self {
        let place = self.unit() | (device as u64) << UNIT_BITS;
        Self { place, frames: self.frames }
    }

    fn to_bytes(self) -> [u8; RUN_BYTES] {
        let mut bytes = [0; RUN_BYTES];
        bytes[..8].copy_from_slice(&self.frames.to_le_bytes());
        bytes[8..].copy_from_slice(&self.place.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; RUN_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = *bytes;
        Self {
            frames: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            place: u64::from_le_bytes(rest),
        }
    }
}

/// What a run's bytes lie on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// A whole disk, by serial number, PCI path or other name that the host can match.
    Disk(String),
    /// A file on a share, by the share's own path of it.
    ShareFile(String),
}

impl Device {
    const DISK: u16 = 0;
    const SHARE_FILE: u16 = 1;

    const fn kind(&self) -> u16 {
        match self {
            Self::Disk(_) => Self::DISK,
            Self::ShareFile(_) => Self::SHARE_FILE,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Disk(name) | Self::ShareFile(name) => name,
        }
    }
}

/// The header's numbers that are not lengths of the list itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Page size of the database in bytes; 0 where it is of several with different ones.
    pub page_size: u32,
    /// Number of database pages behind the runs.
    pub pages: u64,
    /// CLOCK_MONOTONIC of the guest when the list was begun, in ns.
    pub begun_ns: u64,
    /// CLOCK_MONOTONIC of the guest when the list was done, in ns.
    pub done_ns: u64,
}

#[cfg(test)]
mod tests;
