//! Layout of the memory that the library in QEMU shares with the host's program.
//!
//! The library makes one sparse file in memory (memfd) and seals its size, so that an access can never
//! fault. The host finds it among the descriptors of the QEMU process. Nothing else passes between
//! the two: no side ever waits for the other.
//!
//! | from | bytes | what | written by |
//! |---|---|---|---|
//! | 0 | 4096 | [`ControlPage`] | each its part |
//! | [`BLOCKS_AT`] | [`MAX_SET_BLOCKS`] x 264 | [`BlockEntry`]s that runs name by index | host |
//! | [`RUNS_AT`] | [`MAX_SET_RUNS`] x 24, 384 MiB | [`RunEntry`]s by block and offset | host |
//! | [`CONFIRMED_AT`] | [`BITMAP_BYTES`] | a bit a page of the set: installed at the destination | host |
//! | [`REDIRTY_AT`] | [`BITMAP_BYTES`] | a bit a page of the set: send it after all | host |
//! | [`REDIRTIED_AT`] | [`BITMAP_BYTES`] | a bit a page of the set: re-dirtied, asked for or not | library |
//!
//! Bit `n % 64` of the 64-bit word `n / 64` of a bitmap is page `n` of the set. Bits are only ever set
//! while a set is armed; the host clears all three bitmaps before it arms the next.
//!
//! ```text
//! host     writes blocks, runs, counts, clears the bitmaps       armed = taken + 1
//! library  first sync of the next migration: copies, checks      taken = armed; Hinting, Hinted | Refused
//! host     confirmed, redirty + redirty_requested                while the migration runs
//! library  each sync: re-dirties what is asked; with the VM stopped, or when nobody has the file
//!          locked any more, all that is not confirmed
//! library  clean-up of the migration                             Ended
//! ```
//! All integers are of this machine: both sides run on it.

#![no_std]

mod control;
mod reason;
mod table;

pub use control::{
    ControlPage, LibraryState, LoadedBy, ParameterWords, SYNC_TIMES, SavedParametersArea, SyncEntry,
};
pub use reason::{RefusalReason, SETTINGS, SYMBOLS};
pub use table::{BLOCK_NAME_BYTES, BlockEntry, RunEntry};

use core::ffi::CStr;
use core::mem::size_of;

use page_number::{MAX_SET_BLOCKS, MAX_SET_PAGES, MAX_SET_RUNS, PAGE_BYTES};

/// Name of the file, as in `/proc/PID/fd/N -> /memfd:poolferry-qemu (deleted)`.
pub const FILE_NAME: &CStr = c"poolferry-qemu";

/// First word of the file.
pub const MAGIC: u64 = u64::from_le_bytes(*b"PFerryQ\x1a");

/// Changes with every change of the layout or of what it means.
pub const ABI_VERSION: u32 = 3;

/// Major and minor number of the oldest QEMU that pages are skipped with. From 6.1 on a hint cannot lose a later write
/// (commit 3143577d6a, "migration: clear the memory region dirty bitmap when skipping free pages"); 7.2 is the
/// oldest tried.
pub const OLDEST_QEMU: (u32, u32) = (7, 2);
/// The newest that is known.
pub const NEWEST_QEMU: (u32, u32) = (11, 1);

/// Where the blocks begin, in bytes.
pub const BLOCKS_AT: usize = size_of::<ControlPage>();
/// Where the runs begin, in bytes.
pub const RUNS_AT: usize = 0x4000;
/// Where the bitmap of installed pages begins, in bytes.
pub const CONFIRMED_AT: usize = RUNS_AT + MAX_SET_RUNS * size_of::<RunEntry>();
/// Bytes of one bitmap.
pub const BITMAP_BYTES: usize = MAX_SET_PAGES as usize / 8;
/// Where the bitmap of pages to re-dirty begins, in bytes.
pub const REDIRTY_AT: usize = CONFIRMED_AT + BITMAP_BYTES;
/// Where the bitmap of pages re-dirtied begins, in bytes.
pub const REDIRTIED_AT: usize = REDIRTY_AT + BITMAP_BYTES;
/// Length of the file in bytes; nearly all of it is hole.
pub const FILE_BYTES: usize = REDIRTIED_AT + BITMAP_BYTES;

const _: () = assert!(size_of::<ControlPage>() as u64 == PAGE_BYTES);
const _: () = assert!(size_of::<BlockEntry>() == 264 && size_of::<RunEntry>() == 24);
const _: () = assert!(BLOCKS_AT + MAX_SET_BLOCKS * size_of::<BlockEntry>() <= RUNS_AT);
// Each part is mapped by itself.
const _: () = assert!(CONFIRMED_AT.is_multiple_of(size_of::<ControlPage>()));
const _: () = assert!(REDIRTY_AT.is_multiple_of(size_of::<ControlPage>()));
const _: () = assert!(REDIRTIED_AT.is_multiple_of(size_of::<ControlPage>()));
