//! The data files of an InnoDB server: from (space id, page number) to a file and an offset, for a server that is not
//! involved and does not notice. Where that lies on disks is the business of [`crate::on_disk`].
//!
//! ```text
//! process ─ candidates ─ header, proof ─ space ─> tablespaces   (space, page) -> file, offset
//! (/proc)   (fds, tree)   (first pages)           │
//!                                     on_disk ────┴> locator    file, offset -> disk ranges
//! ```
//!
//! # What a place is worth
//! A place is a hint, as all of the page list is: the server may drop the file a moment later. Every reader of the
//! place proves the bytes. So this module need not be right always, but it must not be wrong often, and it never
//! guesses: where something is not understood the answer is a [`NotOnDisk`] reason.
//!
//! # What is believed
//! A file is what its pages prove (`proof`), whatever its name is; names only select which files are opened
//! that the server has not open, and what to call them. All of a data directory is foreign: its owner may
//! swap a file for a link, a pipe or a device at any moment. So files are opened through the crate
//! `foreign_file` only, and looked at in a thread of their own (`looker`).
//!
//! # How the server is left alone
//! Files are opened for reading only and closed at once: a file that the server drops gives its
//! blocks back. A few hundred bytes of a file are read, without read-ahead.
//!
//! # Not covered
//! A system tablespace on a raw partition (`innodb_data_file_path=/dev/sdb1:10Graw`) has no file;
//! its pages answer `space-not-open` or `beyond-eof`. Table files outside the data directory that
//! the server has closed since before the first look, and that no `.isl` file names (8.0 and later),
//! answer `space-not-open` until the server opens them.

mod candidates;
mod checksum;
mod data_file;
mod error;
mod file_name;
mod flags;
#[cfg(fuzzing)]
pub mod fuzzing;
mod header;
mod ids;
mod locator;
mod looker;
mod names;
mod proof;
mod reason;
mod search;
mod space;
mod tablespaces;

pub use data_file::DataFile;
pub use error::LocateError;
pub use file_name::decode_file_name;
pub use ids::{PageNo, SpaceId};
pub use locator::Locator;
pub use reason::NotOnDisk;
pub use tablespaces::{FileChanges, Tablespaces};
