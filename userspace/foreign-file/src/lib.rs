//! The one door for files that come from outside: those of a server, of its owner, of another host.
//!
//! A name that was checked may lead elsewhere when it is opened. Opening a device acts, opening a pipe
//! waits, and reading a file of procfs runs code of the kernel. So here a file is looked at first and
//! opened later, through the very descriptor that was looked at:
//!
//! ```text
//! name ─ one step at a time, O_PATH ─> Found ─ kind? file system? ─> /proc/self/fd/N ─> File
//!        no step into a file system that may not be read
//! ```
//!
//! ```no_run
//! let text = foreign_file::read(std::path::Path::new("/var/lib/mysql/shop/t.isl"), 4096)?;
//! # Ok::<(), foreign_file::Refusal>(())
//! ```
//!
//! - [`read`] and [`open`] take a path as any program does: of this process's own root and working directory.
//! - [`Root`] is another process's root: links are resolved below it, and never out of it.
//! - [`held_by`] is for what a process holds open or maps itself.
//! - [`program`] takes either, and a path below `/proc/PID/root`.
//! - [`Found`] is what a step led to. It can be looked at; only [`Found::open`] opens it.
//!
//! # Which file systems
//! Those that keep files: any on a block device, and the known ones without (tmpfs, overlay, btrfs, NFS
//! and other shares). procfs, sysfs, cgroups, debugfs, devpts and their like keep none: what they call a
//! file is a question to the kernel, and asking may act. A file system unknown here is refused.
//!
//! A file system that another user's program answers for answers when that user likes, and who waits for it cannot
//! even be killed. So FUSE, shares and overlays are read only where root has mounted them, as a cluster's share or a
//! container is; of what a user has mounted, in a user namespace or by `fusermount`, nothing is asked, not even a
//! name. A share of root's may hang as well, but by the choice of who runs the machine. How they are distinguished is
//! described in `mounts.rs`.

mod found;
mod mounts;
mod refusal;
mod refused;
mod root;

pub use found::{Found, Kind};
pub use refusal::{OTHER_FILE_SYSTEM, Refusal};
pub use root::Root;

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use mounts::Mounts;

/// Opens a regular file of ours for reading.
///
/// # Errors
/// [`Refusal`] where it is no regular file, lies on a file system that is not read, or cannot be opened.
pub fn open(path: &Path) -> Result<File, Refusal> {
    find(path)?.open()
}

/// Looks for what `path` leads to in this process's own root, from its working directory where the path
/// is relative; links are followed.
///
/// # Errors
/// [`Refusal`] where nothing is there, or a step leads into a file system that is not read.
pub fn find(path: &Path) -> Result<Found, Refusal> {
    let absolute = std::path::absolute(path).map_err(|error| Refusal::from_io(error).of(path))?;
    Root::own()?.find(&absolute)
}

/// What a process holds open or maps, by its link in /proc (`/proc/7/fd/3`, `/proc/7/exe`,
/// `/proc/7/map_files/7f0-7f1`): it is the very file, memory included.
///
/// # Errors
/// [`Refusal`] where nothing is there, or on a file system that is not read.
pub fn held_by(link: &Path) -> Result<Found, Refusal> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let fd = rustix::fs::open(link, flags, Mode::empty()).map_err(Refusal::from_errno);
    let checked = fd.and_then(|fd| {
        let number = Mounts::about(link).check_held(fd.as_fd()).map_err(Refusal::from_io)?;
        Found::new(fd, number.map_err(Refusal::not_read)?)
    });
    checked.map_err(|refusal| refusal.of(link))
}

/// What a path of ours leads to, where it may be one in /proc: of what a process runs or maps (`/proc/7/exe`), or
/// of a file below its root (`/proc/7/root/usr/sbin/mysqld`).
///
/// # Errors
/// As for [`held_by`] and [`find`].
pub fn program(path: &Path) -> Result<Found, Refusal> {
    let mut steps = path.strip_prefix("/proc").unwrap_or(Path::new("")).components();
    match (steps.next(), steps.next()) {
        (Some(process), Some(step)) if step.as_os_str() == "root" => {
            let root = Root::at(&Path::new("/proc").join(process).join(step))?;
            root.find(&Path::new("/").join(steps)).map_err(|refusal| refusal.of(path))
        }
        (Some(_), Some(_)) => held_by(path),
        _ => find(path),
    }
}

/// Reads a regular file of ours of at most `most_bytes`.
///
/// # Errors
/// [`Refusal`] as for [`open`], and where the file is longer.
pub fn read(path: &Path, most_bytes: u64) -> Result<Vec<u8>, Refusal> {
    read_from(open(path)?, most_bytes).map_err(|refusal| refusal.of(path))
}

/// Reads an open file to its end, at most `most_bytes` of it.
///
/// # Errors
/// [`Refusal`] where it is longer, or cannot be read.
pub fn read_from(file: File, most_bytes: u64) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let read = file.take(most_bytes.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(Refusal::from_io)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= most_bytes) {
        Ok(bytes)
    } else {
        Err(Refusal::TooLarge { path: Default::default(), most_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// `cargo test` runs a crate's tests in the crate's own folder.
    #[test]
    fn a_relative_path_begins_at_the_working_directory() {
        let own = fs::read("Cargo.toml").unwrap();
        for path in ["Cargo.toml", "./Cargo.toml", "src/../Cargo.toml"] {
            assert_eq!(read(Path::new(path), 1 << 20).unwrap(), own, "{path}");
        }
        let other = fs::read("../wire/Cargo.toml").unwrap();
        assert_eq!(read(Path::new("../wire/Cargo.toml"), 1 << 20).unwrap(), other);
        assert!(read(Path::new("etc/hostname"), 1 << 20).is_err());
        assert!(read(Path::new(""), 1 << 20).is_err());
    }
}
