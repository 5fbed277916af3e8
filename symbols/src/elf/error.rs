//! Why a file cannot be read as a program.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::snapshot::{MAX_FILE_BYTES, SnapshotError};
use crate::cause::Cause;
use crate::path_text;

/// A file that is not the ELF it should be.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ElfError {
    /// The file cannot be opened, examined or read.
    #[error("cannot open `{path}`")]
    Open {
        /// The file.
        #[serde(with = "path_text")]
        path: PathBuf,
        /// The kernel's error.
        source: Cause,
    },
    /// The file is larger than any debug file.
    #[error(
        "`{path}` is {size} bytes long, more than the {MAX_FILE_BYTES} that are read of a file"
    )]
    TooLarge {
        /// The file.
        #[serde(with = "path_text")]
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// Almost nothing of the file is kept anywhere.
    #[error("`{path}` is {size} bytes long, with {kept} of them on disk")]
    Hollow {
        /// The file.
        #[serde(with = "path_text")]
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// What it takes on disk, in bytes.
        kept: u64,
    },
    /// Somebody writes the file.
    #[error("`{path}` was cut short while it was read")]
    Cut {
        /// The file.
        #[serde(with = "path_text")]
        path: PathBuf,
    },
    /// Together, the files would take more memory than they may.
    #[error(
        "no room for `{path}` in the {limit} bytes of memory that may be taken to read files: only a build whose \
         profile is stored is known with less"
    )]
    NoRoom {
        /// The file.
        #[serde(with = "path_text")]
        path: PathBuf,
        /// What all of them may take, in bytes.
        limit: u64,
    },
    /// It is not needed any more.
    #[error("stopped while `{path}` was read")]
    Stopped {
        /// The file.
        #[serde(with = "path_text")]
        path: PathBuf,
    },
    /// It lies where somebody else decides whether a read ever ends.
    #[error("`{path}` lies on {fstype}, which is not read")]
    FileSystem {
        /// The file.
        #[serde(with = "path_text")]
        path: PathBuf,
        /// The file system's type, and who has mounted it where that is why.
        fstype: String,
    },
    /// Not a little-endian 64-bit ELF, or its headers are broken.
    #[error("`{path}` is not a 64-bit little-endian ELF file")]
    NotElf {
        /// The file.
        #[serde(with = "path_text")]
        path: PathBuf,
        /// What is wrong with its headers; none when it is no regular file.
        source: Option<Cause>,
    },
    /// An ELF of another machine.
    #[error("`{path}` is for machine {machine}, not x86-64 (62)")]
    Machine {
        /// The file.
        #[serde(with = "path_text")]
        path: PathBuf,
        /// `e_machine`.
        machine: u16,
    },
    /// A section outside of the file, or one that cannot be decompressed.
    #[error("cannot read section {name} of `{path}`")]
    Section {
        /// The file.
        #[serde(with = "path_text")]
        path: PathBuf,
        /// The section.
        name: String,
        /// What is wrong with it.
        source: Cause,
    },
    /// A section that states an uncompressed size for which there is no room.
    #[error(
        "section {name} of `{path}` claims {size} bytes uncompressed; all together may take {limit}"
    )]
    SectionTooBig {
        /// The file.
        #[serde(with = "path_text")]
        path: PathBuf,
        /// The section.
        name: String,
        /// The stated size in bytes.
        size: u64,
        /// What all files and sections may take together, in bytes.
        limit: u64,
    },
}

/// The remedy where a file needs more than it may have.
pub(crate) const STORED_PROFILE: &str = "make a stored profile on another machine (`poolferry symbols --json`) \
                              and name its folder with --profiles";

impl ElfError {
    pub(crate) fn read(path: &Path, error: SnapshotError) -> Self {
        let path = path.to_owned();
        match error {
            SnapshotError::Io(source) => Self::Open { path, source },
            SnapshotError::NotAFile => Self::NotElf { path, source: None },
            SnapshotError::TooLarge { size } => Self::TooLarge { path, size },
            SnapshotError::Hollow { size, kept } => Self::Hollow { path, size, kept },
            SnapshotError::Cut => Self::Cut { path },
            SnapshotError::NoRoom { limit } => Self::NoRoom { path, limit },
            SnapshotError::Stopped => Self::Stopped { path },
            SnapshotError::FileSystem { fstype } => Self::FileSystem { path, fstype },
        }
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Open { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("run as root, or give the program CAP_SYS_PTRACE to open another's executable")
            }
            Self::Open { path, .. } if path.starts_with("/proc") => {
                Some("check that the process still runs")
            }
            Self::Open { .. } => Some("check the path"),
            Self::NotElf { .. } => Some("name the server's program itself, not a wrapper script"),
            Self::Machine { .. } => Some("only servers built for x86-64 can be observed"),
            Self::Section { .. } => {
                Some("the file is damaged: reinstall the server or its debug package")
            }
            Self::TooLarge { .. } | Self::Hollow { .. } => {
                Some("this is no server: name the server's program itself")
            }
            Self::Cut { .. } => Some("try again when the file is not being written"),
            Self::NoRoom { .. } | Self::SectionTooBig { .. } => Some(STORED_PROFILE),
            Self::Stopped { .. } => None,
            Self::FileSystem { .. } => Some(foreign_file::OTHER_FILE_SYSTEM),
        }
    }
}
