//! Why a process is not the server that is meant.

use std::io;
use std::path::PathBuf;

use symbols::text::TextError;
use thiserror::Error;

use super::rule::ServerRule;

/// Why no server could be chosen.
#[derive(Debug, Error)]
pub enum TargetError {
    /// Nothing runs.
    #[error("no running process {rule}")]
    None {
        /// What was looked for.
        rule: Box<ServerRule>,
    },
    /// The process is not there.
    #[error("no process {pid}")]
    Gone {
        /// The pid asked for.
        pid: u32,
    },
    /// The process could not be looked at.
    #[error("failed to read `{path}`")]
    Unreadable {
        /// The file below /proc.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// Its program file is not among its mappings.
    #[error("process {pid} does not map its program `{program}`")]
    NotMapped {
        /// The process.
        pid: u32,
        /// Its program.
        program: PathBuf,
    },
    /// Its program file cannot be looked at.
    #[error("failed to look at the program of process {pid}")]
    Text {
        /// The process.
        pid: u32,
        /// Why.
        #[source]
        source: TextError,
    },
    /// It is called like a dynamic loader, and has loaded no program of the names that are looked for.
    #[error("process {pid} has loaded no program with the name of a server")]
    NotNamed {
        /// The process.
        pid: u32,
    },
    /// It has become another program while it was looked at.
    #[error("process {pid} has executed another program")]
    Changed {
        /// The process.
        pid: u32,
    },
}

impl TargetError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::None { rule } if **rule != ServerRule::default() => {
                Some("start the server first, or look for it with another rule")
            }
            Self::None { .. } | Self::Gone { .. } => {
                Some("start the server first, or name it with --pid or --name")
            }
            Self::Unreadable { .. } => Some("run as root, or with CAP_SYS_PTRACE"),
            Self::NotMapped { .. } => None,
            Self::NotNamed { .. } => {
                Some("name the program with --name, or the process with --pid")
            }
            Self::Text { source, .. } => Some(source.hint()),
            Self::Changed { .. } => Some("start again to attach to the new program"),
        }
    }
}
