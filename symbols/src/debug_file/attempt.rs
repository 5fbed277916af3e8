//! What was looked for, where, and why it was refused.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::debuginfod::FetchError;
use crate::cause::Cause;
use crate::elf::{ElfError, SnapshotError};
use crate::path_text;
use crate::reason::UnresolvedReason;
use crate::trust::Distrust;

/// What a file is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WantedFile {
    /// The separate debug file of the program.
    DebugFile,
    /// The dwz alternate, which holds what several debug files share.
    Alternate,
    /// The `.dwo` or `.dwp` of a unit.
    SplitUnit,
}

/// Where a file was looked for or found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SearchPlace {
    /// A path of the observer's (`/proc/PID/root/...` for one below the target's root).
    File(#[serde(with = "path_text")] PathBuf),
    /// An address at a debuginfod server.
    Url(String),
}

/// One look at one place.
#[derive(Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// What for.
    pub wanted: WantedFile,
    /// Where.
    pub place: SearchPlace,
    /// What became of it.
    pub outcome: Result<(), DebugFileRefusal>,
}

/// Why the file at a place is not used.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DebugFileRefusal {
    /// No such file.
    #[error("not there")]
    Absent,
    /// A folder, pipe, socket or device.
    #[error("not a regular file")]
    NotAFile,
    /// It cannot be looked at or opened.
    #[error("cannot be opened")]
    Open(#[source] Cause),
    /// More files were requested than any program has.
    #[error("not looked at: more than {0} files were requested")]
    TooMany(usize),
    /// It was not read, or not to its end.
    #[error(transparent)]
    Unread(SnapshotError),
    /// Others than root and the server's user can write it.
    #[error(transparent)]
    Stranger(#[from] Distrust),
    /// Not an ELF that can be read.
    #[error("not a usable x86-64 ELF file")]
    Elf(#[source] Option<Cause>),
    /// A list of names that is not compressed by gzip.
    #[error("not compressed by gzip")]
    NotGzip,
    /// It belongs to another build; the reason is a [`UnresolvedReason::BuildIdMismatch`].
    #[error("{0}")]
    OtherBuild(UnresolvedReason),
    /// It belongs to another build, by the CRC-32 of its bytes.
    #[error("of another build: its CRC-32 is {found:#010x}, the debug link wants {wanted:#010x}")]
    OtherCrc {
        /// The CRC in `.gnu_debuglink`.
        wanted: u32,
        /// The CRC of the file.
        found: u32,
    },
    /// It has no `.debug_info`: the program itself, or another stripped copy.
    #[error("holds no debug information")]
    NoDebugInfo,
    /// A `.dwo` or `.dwp` of another build.
    #[error("holds no unit {wanted:#018x}")]
    NoSuchUnit {
        /// `DW_AT_GNU_dwo_id`, or the id in the header of a DWARF 5 skeleton unit.
        wanted: u64,
    },
    /// Its DWARF cannot be read.
    #[error("its DWARF is broken")]
    Dwarf(#[source] Cause),
    /// A debuginfod server did not deliver it.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

impl DebugFileRefusal {
    pub(crate) fn from_open(error: impl Into<Cause>) -> Self {
        let error = error.into();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Absent,
            _ => Self::Open(error),
        }
    }

    pub(super) fn dwarf(error: gimli::Error) -> Self {
        Self::Dwarf(error.into())
    }

    pub(crate) fn from_read(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Io(error) => Self::from_open(error),
            SnapshotError::NotAFile => Self::NotAFile,
            other => Self::Unread(other),
        }
    }

    /// Drops the path, which is the one under `/proc/self/fd` that the file was opened by.
    pub(crate) fn from_elf(error: ElfError) -> Self {
        match error {
            ElfError::Open { source, .. } => Self::from_open(source),
            ElfError::NotElf { source, .. } => Self::Elf(source),
            ElfError::Section { source, .. } => Self::Elf(Some(source)),
            ElfError::TooLarge { size, .. } => Self::Unread(SnapshotError::TooLarge { size }),
            ElfError::Hollow { size, kept, .. } => {
                Self::Unread(SnapshotError::Hollow { size, kept })
            }
            ElfError::Cut { .. } => Self::Unread(SnapshotError::Cut),
            ElfError::NoRoom { limit, .. } => Self::Unread(SnapshotError::NoRoom { limit }),
            ElfError::Stopped { .. } => Self::Unread(SnapshotError::Stopped),
            ElfError::FileSystem { fstype, .. } => {
                Self::Unread(SnapshotError::FileSystem { fstype })
            }
            _ => Self::Elf(None),
        }
    }

    /// What the operator can do about it; none where the next place may still have the file.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Absent | Self::NotAFile | Self::NoDebugInfo => None,
            Self::Open(_) => Some("run as root, or let this user read the debug files"),
            Self::TooMany(_) | Self::NotGzip => None,
            Self::Stranger(_) => Some(
                "if the file is yours, give it to root and let no one else write it \
                 (chown root, chmod go-w)",
            ),
            Self::Unread(SnapshotError::FileSystem { .. }) => Some(foreign_file::OTHER_FILE_SYSTEM),
            Self::Unread(_) => Some("remove the file, or make room for it in memory"),
            Self::Elf(_) | Self::Dwarf(_) => {
                Some("the file is damaged: reinstall the server's debug package")
            }
            Self::OtherBuild(_) | Self::OtherCrc { .. } | Self::NoSuchUnit { .. } => Some(
                "install the debug package of exactly the version that runs (a server that was \
                 upgraded but not restarted still runs the old one)",
            ),
            Self::Fetch(error) => error.hint(),
        }
    }
}

impl fmt::Display for WantedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DebugFile => "debug file",
            Self::Alternate => "dwz alternate",
            Self::SplitUnit => "split unit",
        })
    }
}

/// The path or the URL alone.
impl fmt::Display for SearchPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => foreign::path(path).fmt(f),
            Self::Url(url) => foreign::shown(url).fmt(f),
        }
    }
}

/// One line: what, where, what became of it and why.
impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`: ", self.wanted, self.place)?;
        let refusal = match &self.outcome {
            Ok(()) => return f.write_str("used"),
            Err(refusal) => refusal,
        };
        write!(f, "{refusal}")?;
        let mut cause = std::error::Error::source(refusal);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
