//! What keeps a process's files from being looked at at all (a range without a place is [`Unmapped`] instead).
//!
//! [`Unmapped`]: super::Unmapped

use std::io;

/// A process could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The process ended, or never was.
    #[error("process {pid} is gone")]
    Gone {
        /// Its process id.
        pid: u32,
    },
    /// The kernel refuses to show the process.
    #[error("failed to read `/proc/{pid}/{what}`: permission denied")]
    Denied {
        /// Its process id.
        pid: u32,
        /// Entry below `/proc/PID`.
        what: &'static str,
    },
    /// Anything else that goes wrong below `/proc/PID`.
    #[error("failed to read `/proc/{pid}/{what}`")]
    Proc {
        /// Its process id.
        pid: u32,
        /// Entry below `/proc/PID`.
        what: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl ProcessError {
    /// What an operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Gone { .. } => Some("has the server been restarted? look up its new pid"),
            Self::Denied { .. } => {
                Some("run as root, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH")
            }
            Self::Proc { .. } => None,
        }
    }

    /// Sorts an error of a call below `/proc/PID` into its variant.
    pub(crate) fn proc(pid: u32, what: &'static str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => Self::Gone { pid },
            Some(libc::EACCES | libc::EPERM) => Self::Denied { pid, what },
            _ => Self::Proc { pid, what, source },
        }
    }
}
