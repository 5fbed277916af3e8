//! What another process has open, as the kernel reports it.
//!
//! No request goes to the file system of a descriptor (`AT_STATX_DONT_SYNC`), no descriptor is opened, and a process with very many of them
//! is looked at until a deadline only.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, statx};

/// A descriptor of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pid: u32,
    pub(crate) number: i32,
}

/// What the kernel has once at a time: a file by file system and number, a block device by its own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum DescriptorIdentity {
    File {
        device: (u32, u32),
        inode: u64,
    },
    BlockDevice {
        device: (u32, u32),
    },
    Socket,
    /// Folders, pipes, other devices.
    Other,
}

impl Descriptor {
    /// Its link in /proc, which opens the very file.
    pub(crate) fn link(self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", self.pid, self.number))
    }

    /// What the kernel calls it.
    pub(crate) fn name(self) -> io::Result<PathBuf> {
        fs::read_link(self.link())
    }

    /// What it is; an error where it is closed by now.
    pub(crate) fn identity(self) -> io::Result<DescriptorIdentity> {
        DescriptorIdentity::at(CWD, &self.link(), AtFlags::empty())
    }
}

impl DescriptorIdentity {
    /// Of an open file.
    pub(crate) fn of(file: impl rustix::fd::AsFd) -> io::Result<Self> {
        Self::at(file, "".as_ref(), AtFlags::EMPTY_PATH)
    }

    fn at(
        folder: impl rustix::fd::AsFd,
        path: &std::path::Path,
        flags: AtFlags,
    ) -> io::Result<Self> {
        let flags = flags | AtFlags::STATX_DONT_SYNC;
        let seen = statx(folder, path, flags, StatxFlags::TYPE | StatxFlags::INO)?;
        Ok(match FileType::from_raw_mode(seen.stx_mode.into()) {
            FileType::RegularFile => {
                Self::File { device: (seen.stx_dev_major, seen.stx_dev_minor), inode: seen.stx_ino }
            }
            FileType::BlockDevice => {
                Self::BlockDevice { device: (seen.stx_rdev_major, seen.stx_rdev_minor) }
            }
            FileType::Socket => Self::Socket,
            _ => Self::Other,
        })
    }
}

/// The descriptors that `pid` has, one after the other; the last is an error of the kind `TimedOut` where there are
/// more than can be looked at by `until`.
pub(crate) fn of(
    pid: u32,
    until: Instant,
) -> io::Result<impl Iterator<Item = io::Result<Descriptor>>> {
    let mut entries = fs::read_dir(format!("/proc/{pid}/fd"))?;
    let mut is_late = false;
    Ok(std::iter::from_fn(move || {
        if is_late {
            return None;
        }
        // What is no number is none of the kernel's.
        let number = entries.find_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())?;
        is_late = Instant::now() >= until;
        Some(if is_late {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            Ok(Descriptor { pid, number })
        })
    }))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;
    use std::time::Duration;

    use super::*;

    #[test]
    fn descriptors_are_looked_at_until_the_deadline() {
        let file = tempfile::tempfile().unwrap();
        let pid = std::process::id();
        let mut own =
            of(pid, Instant::now() + Duration::from_secs(10)).unwrap().map(Result::unwrap);
        let own = own.find(|descriptor| descriptor.number == file.as_raw_fd()).unwrap();
        let identity = own.identity().unwrap();
        assert!(matches!(identity, DescriptorIdentity::File { .. }));
        assert_eq!(identity, DescriptorIdentity::of(&file).unwrap());
        assert_ne!(identity, DescriptorIdentity::of(tempfile::tempfile().unwrap()).unwrap());
        let late: Vec<_> = of(pid, Instant::now()).unwrap().collect();
        assert_eq!(late.len(), 1);
        assert_eq!(late[0].as_ref().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
