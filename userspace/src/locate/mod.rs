//! Where a page lies on disk: from (space id, page number) to a file and an offset, and from there
//! to byte ranges of whole disks, for a server that is not asked and does not notice.
//!
//! ```text
//! process ─ candidates ─ header, proof ─ space ─> tablespaces   (space, page) -> file, offset
//! (/proc)   (fds, tree)   (first pages)           │
//!                                   mounts ───────┤             file system -> device or share
//!                        fiemap ─ extents ────────┤             file range -> device range
//!     sysfs, device_mapper ─ disks ───────────────┴> locator    device range -> disk ranges
//! ```
//!
//! # What a place is worth
//! A place is a hint, as all of the page list is: the file system may move a file, the server may
//! drop it, a moment later. Whoever reads the place proves the bytes. So this module need not be
//! right always, but it must not be wrong often, and it never guesses: where something is not
//! understood the answer is a [`NotOnDisk`] reason.
//!
//! # What is believed
//! A file is what its pages prove (`proof`), whatever its name is; names only say which files are opened
//! that the server has not open, and what to call them. All of a data directory is foreign: its owner may
//! swap a file for a link, a pipe or a device at any moment. So files are opened through the crate
//! `foreign_file` only, and looked at in a thread of their own (`looker`).
//!
//! # How the server is left alone
//! Files are opened for reading only and closed at once: a file that the server drops gives its
//! blocks back. A few hundred bytes of a file are read, without read-ahead. No map is asked for with
//! `FIEMAP_FLAG_SYNC`, which would write the file's dirty pages out.
//!
//! # What makes a map old
//! A map is used again while size, allocated blocks and change time are what they were, for at most
//! 30 s (defragmenters move blocks and leave all three alone). Under a write load the change time
//! moves on always, so busy files are mapped at every refresh, which is cheap: 23 us for a file of
//! 2 GiB in 21 extents on ext4, Linux 6.18. On copy-on-write file systems a map is wrong for the very
//! pages that are used: btrfs, bcachefs, ZFS and reflinked extents of XFS are refused.
//!
//! # Not covered
//! A system tablespace on a raw partition (`innodb_data_file_path=/dev/sdb1:10Graw`) has no file;
//! its pages answer `space-not-open` or `beyond-eof`. Table files outside the data directory that
//! the server has closed since before the first look, and that no `.isl` file names (8.0 and later),
//! answer `space-not-open` until the server opens them.

mod candidates;
mod checksum;
mod data_file;
mod device_mapper;
mod disks;
mod error;
mod extents;
mod fiemap;
mod file_flags;
mod file_maps;
mod file_name;
mod flags;
#[cfg(fuzzing)]
pub mod fuzzing;
mod header;
mod ids;
mod locator;
mod looker;
mod mounts;
mod names;
mod process;
mod proof;
mod reason;
mod room;
mod search;
mod space;
mod stamp;
mod sysfs;
mod tablespaces;

pub use data_file::DataFile;
pub use disks::{Disk, DiskRange, DiskRanges};
pub use error::LocateError;
pub use file_name::decode_file_name;
pub use ids::{DeviceId, DiskOffset, FileId, FileOffset, PageNo, SpaceId};
pub use locator::{Location, Locator};
pub use mounts::Share;
pub use reason::NotOnDisk;
pub use tablespaces::{Changes, Place, Tablespaces};
