//! Why a file cannot be read as a program.

use std::path::PathBuf;

/// A file that is not the ELF it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// The file cannot be opened, examined or mapped.
    #[error("cannot open `{path}`")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Not a little-endian 64-bit ELF, or its headers are broken.
    #[error("`{path}` is not a 64-bit little-endian ELF file")]
    NotElf {
        /// The file.
        path: PathBuf,
        /// What is wrong with its headers; none when it is no regular file.
        source: Option<object::Error>,
    },
    /// An ELF of another machine.
    #[error("`{path}` is for machine {machine}, not x86-64 (62)")]
    Machine {
        /// The file.
        path: PathBuf,
        /// `e_machine`.
        machine: u16,
    },
    /// A section outside of the file, or one that cannot be decompressed.
    #[error("cannot read section {name} of `{path}`")]
    Section {
        /// The file.
        path: PathBuf,
        /// The section.
        name: String,
        /// What is wrong with it.
        source: object::Error,
    },
    /// A section that states an absurd uncompressed size.
    #[error("section {name} of `{path}` claims {size} bytes uncompressed")]
    SectionTooBig {
        /// The file.
        path: PathBuf,
        /// The section.
        name: String,
        /// The stated size in bytes.
        size: u64,
    },
}

impl ElfError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Open { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("run as root, or give the program CAP_SYS_PTRACE to open another's executable")
            }
            Self::Open { .. } => Some("check that the process still runs and the path is right"),
            Self::NotElf { .. } => Some("name the server's program itself, not a wrapper script"),
            Self::Machine { .. } => Some("only servers built for x86-64 can be observed"),
            Self::Section { .. } | Self::SectionTooBig { .. } => {
                Some("the file is damaged: reinstall the server or its debug package")
            }
        }
    }
}
