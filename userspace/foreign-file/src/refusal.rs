//! Why a file is not read.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

/// The remedy where a file lies on a file system that is not read.
pub const OTHER_FILE_SYSTEM: &str = "keep it on a disk, or on a share or overlay that root has mounted: \
                                     those of a container without root are its user's";

/// A file from outside that is not opened or not read.
#[derive(Debug, Error)]
pub enum Refusal {
    /// The kernel refused.
    #[error("failed to open `{}`", foreign::path(path))]
    Io {
        /// The name that was asked for; empty where it was asked for by descriptor.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A folder, a device, a pipe, a socket.
    #[error("`{}` is no regular file", foreign::path(path))]
    NoFile {
        /// Its name.
        path: PathBuf,
    },
    /// It lies on a file system that is not read.
    #[error("`{}` lies on {fstype}, which is not read", foreign::path(path))]
    FileSystem {
        /// Its name, or that of the folder where the file system is mounted.
        path: PathBuf,
        /// Type as the kernel names it, and that a user has mounted it where that is why; `an unknown mount` where
        /// it names none.
        fstype: String,
    },
    /// It is longer than any that makes sense.
    #[error("`{}` is longer than {most_bytes} bytes", foreign::path(path))]
    TooLarge {
        /// Its name.
        path: PathBuf,
        /// The limit.
        most_bytes: u64,
    },
}

impl Refusal {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Some("check the path"),
                io::ErrorKind::PermissionDenied => {
                    Some("run as root, or as a user that may read it")
                }
                _ => None,
            },
            Self::NoFile { .. } => Some("name a regular file"),
            Self::FileSystem { .. } => Some(OTHER_FILE_SYSTEM),
            Self::TooLarge { .. } => Some("check that it is the file that was meant"),
        }
    }

    /// True when nothing was there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// `fstype` is not read.
    pub(crate) fn not_read(fstype: String) -> Self {
        Self::FileSystem { path: PathBuf::new(), fstype }
    }

    pub(crate) fn from_io(source: io::Error) -> Self {
        Self::Io { path: PathBuf::new(), source }
    }

    pub(crate) fn from_errno(error: Errno) -> Self {
        Self::from_io(error.into())
    }

    /// The same, of a file with a name.
    pub(crate) fn of(mut self, name: &Path) -> Self {
        let (Self::Io { path, .. }
        | Self::NoFile { path }
        | Self::FileSystem { path, .. }
        | Self::TooLarge { path, .. }) = &mut self;
        if path.as_os_str().is_empty() {
            name.clone_into(path);
        }
        self
    }
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Io { source, .. } => source,
            other => Self::new(io::ErrorKind::InvalidInput, other.to_string()),
        }
    }
}
