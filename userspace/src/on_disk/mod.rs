//! Where a range of a file lies on whole disks, for a process that is not involved and does not notice.
//!
//! ```text
//!          process ─ seen_file ─┐                file id -> stamp, path, descriptor
//!                        mounts ─┤                file system -> device or share
//!     fiemap ─ extents ─ file_maps ─┤             file range -> device range
//!     sysfs, device_mapper ─ disks ──┴> finder    device range -> disk ranges
//! ```
//!
//! Nothing here knows what the bytes are, or who wants them: whose files they are and which ranges are asked for
//! is the business of the page sources ([`crate::page_list`]).
//!
//! # What a range on a disk is worth
//! It is a hint: the file system may move a file a moment later. Its reader proves the bytes. So this module
//! need not be right always, but it must not be wrong often, and it never guesses: where something is not
//! understood the answer is an [`Unmapped`] reason.
//!
//! # How the process is left alone
//! Files are opened for reading only, through the crate `foreign_file`, and closed at once: a file that is dropped
//! gives its blocks back. No map is requested with `FIEMAP_FLAG_SYNC`, which would write the file's dirty pages out.
//!
//! # What makes a map old
//! A map is used again while size, allocated blocks and change time are what they were, for at most
//! 30 s (defragmenters move blocks and leave all three alone). Under a write load the change time
//! moves on always, so busy files are mapped at every refresh, which is cheap: 23 us for a file of
//! 2 GiB in 21 extents on ext4, Linux 6.18. On copy-on-write file systems a map is wrong for the very
//! pages that are used: btrfs, bcachefs, ZFS and reflinked extents of XFS are refused.

mod device_mapper;
mod disks;
mod error;
mod extents;
mod fiemap;
mod file_flags;
mod file_maps;
mod finder;
#[cfg(fuzzing)]
pub mod fuzzing;
mod ids;
mod mounts;
mod process;
mod room;
mod seen_file;
mod stamp;
mod sysfs;
mod unmapped;

pub use disks::{Disk, DiskRange, DiskRanges};
pub use error::ProcessError;
pub use finder::{DiskFinder, FileRange, Location};
pub use ids::{DeviceId, DiskOffset, FileId, FileOffset};
pub use mounts::Share;
pub use process::{FileView, Process};
pub(crate) use room::Room;
pub use seen_file::{Files, SeenFile};
pub(crate) use stamp::{Inode, Stamp};
pub use unmapped::Unmapped;
