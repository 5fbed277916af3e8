//! What keeps this module from looking at all (a page without a place is [`NotOnDisk`] instead).
//!
//! [`NotOnDisk`]: super::NotOnDisk

use std::io;

/// The server's files could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// The process ended, or never was.
    #[error("process {pid} is gone")]
    ProcessGone {
        /// The server's process id.
        pid: u32,
    },
    /// The kernel refuses to show the process.
    #[error("failed to read `/proc/{pid}/{what}`: permission denied")]
    Denied {
        /// The server's process id.
        pid: u32,
        /// Entry below `/proc/PID`.
        what: &'static str,
    },
    /// Anything else that goes wrong below `/proc/PID`.
    #[error("failed to read `/proc/{pid}/{what}`")]
    Proc {
        /// The server's process id.
        pid: u32,
        /// Entry below `/proc/PID`.
        what: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The thread that looks at the files could not be started, or has ended.
    #[error("the thread that looks at the server's files is not there")]
    Looker,
}

impl LocateError {
    /// What an operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::ProcessGone { .. } => Some("has the server been restarted? look up its new pid"),
            Self::Denied { .. } => {
                Some("run as root, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH")
            }
            Self::Looker => Some("start again; `ulimit -u` may be too low"),
            Self::Proc { .. } => None,
        }
    }

    /// Sorts an error of a call below `/proc/PID` into its variant.
    pub(crate) fn proc(pid: u32, what: &'static str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => Self::ProcessGone { pid },
            Some(libc::EACCES | libc::EPERM) => Self::Denied { pid, what },
            _ => Self::Proc { pid, what, source },
        }
    }
}
