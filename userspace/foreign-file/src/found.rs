//! What a name led to, not opened yet.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags, fcntl_setfl, open, statx};

use crate::refusal::Refusal;

/// What kind of thing it is, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A block device.
    BlockDevice,
    /// Anything else: opening it may wait or act.
    Other,
}

/// A file, folder, link or device that was looked at; a descriptor that cannot be read (`O_PATH`).
///
/// Its mount was found to be one that is read, before anything was asked of it.
#[derive(Debug)]
pub struct Found {
    pub(crate) fd: OwnedFd,
    /// The kernel's number of the mount.
    pub(crate) mount: u64,
    pub(crate) kind: Kind,
}

impl Found {
    /// `fd` is on a mount that may be read.
    pub(crate) fn new(fd: OwnedFd, mount: u64) -> Result<Self, Refusal> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let seen = statx(&fd, c"", flags, StatxFlags::TYPE).map_err(Refusal::from_errno)?;
        let kind = match FileType::from_raw_mode(seen.stx_mode.into()) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Link,
            FileType::BlockDevice => Kind::BlockDevice,
            _ => Kind::Other,
        };
        Ok(Self { fd, mount, kind })
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// [`Refusal`] where it is none, or may not be read.
    pub fn open(&self) -> Result<File, Refusal> {
        self.open_with(OFlags::RDONLY)
    }

    /// Opens a regular file with other flags, such as `O_DIRECT`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(&self, flags: OFlags) -> Result<File, Refusal> {
        match self.kind {
            Kind::File => Ok(self.reopen(flags)?.into()),
            _ => Err(Refusal::NoFile { path: Default::default() }),
        }
    }

    /// Opens a regular file or a block device, whose reads wait for their data: what a disk's bytes may
    /// lie in.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_disk(&self, flags: OFlags) -> Result<File, Refusal> {
        match self.kind {
            Kind::File | Kind::BlockDevice => {
                let fd = self.reopen(flags)?;
                // Only opening must not wait; io_uring answers EAGAIN to a read that would.
                fcntl_setfl(&fd, flags & OFlags::DIRECT).map_err(Refusal::from_errno)?;
                Ok(fd.into())
            }
            _ => Err(Refusal::NoFile { path: Default::default() }),
        }
    }

    /// What the kernel calls it: the target of its link in /proc.
    ///
    /// # Errors
    /// [`Refusal`] where /proc is not there.
    pub fn kernel_name(&self) -> Result<PathBuf, Refusal> {
        std::fs::read_link(self.link()).map_err(Refusal::from_io)
    }

    /// Opens a folder, to list it.
    ///
    /// # Errors
    /// [`Refusal`] where it is none, or may not be read.
    pub fn open_folder(&self) -> Result<OwnedFd, Refusal> {
        match self.kind {
            Kind::Folder => self.reopen(OFlags::RDONLY | OFlags::DIRECTORY),
            _ => Err(Refusal::NoFile { path: Default::default() }),
        }
    }

    /// The same once more.
    pub(crate) fn again(&self) -> Result<Self, Refusal> {
        let fd = self.fd.try_clone().map_err(Refusal::from_io)?;
        Ok(Self { fd, mount: self.mount, kind: self.kind })
    }

    /// The link in /proc opens exactly what was looked at, whatever its name means now.
    fn reopen(&self, flags: OFlags) -> Result<OwnedFd, Refusal> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        open(self.link(), flags, Mode::empty()).map_err(Refusal::from_errno)
    }

    fn link(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }
}

impl AsFd for Found {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Found> for OwnedFd {
    fn from(found: Found) -> Self {
        found.fd
    }
}
