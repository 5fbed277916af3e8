//! What can go wrong between us and QEMU's monitor.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use foreign::Text;
use thiserror::Error;

/// Longest line in bytes. `info mtree -f` of a VM with hundreds of devices has about 1 MiB.
pub(super) const MAX_LINE: u64 = 16 << 20;

/// Most values of a line, those of its arrays and objects counted one by one: each takes up to 100 bytes. Of the
/// answers to our queries, `query-block` and `query-named-block-nodes` have about 200 for each disk.
pub(super) const MAX_VALUES: usize = 1 << 18;

/// A command could not be given or was refused.
#[derive(Debug, Error)]
pub enum QmpError {
    /// The path does not fit a socket's address.
    #[error("`{path}` is longer than the 107 bytes of a socket's address")]
    PathTooLong {
        /// The socket.
        path: PathBuf,
    },
    /// Nothing listens.
    #[error("failed to connect to QEMU's monitor `{path}`: {error}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Connected, but no greeting.
    #[error("QEMU's monitor `{path}` sends no greeting")]
    Busy {
        /// The socket.
        path: PathBuf,
    },
    /// Something else listens.
    #[error("what listens on `{path}` is no QEMU monitor")]
    NotQmp {
        /// The socket.
        path: PathBuf,
    },
    /// The kernel does not name the process behind the socket.
    #[error("the process behind `{path}` cannot be seen from here")]
    NoPeer {
        /// The socket.
        path: PathBuf,
    },
    /// The connection ended.
    #[error("QEMU closed its monitor")]
    Closed,
    /// The connection broke.
    #[error("the connection to QEMU's monitor broke: {0}")]
    Io(#[from] io::Error),
    /// A line without end.
    #[error("QEMU's monitor sent a line of more than {MAX_LINE} bytes")]
    LineTooLong,
    /// A line that would become a large tree.
    #[error("QEMU's monitor sent a line of more than {MAX_VALUES} values")]
    TooManyValues,
    /// A line that is no JSON object.
    #[error("QEMU's monitor sent a line that is no JSON: {0}")]
    NotJson(serde_json::Error),
    /// No answer in time.
    #[error("QEMU did not answer `{command}` within {limit:?}")]
    TimedOut {
        /// The command.
        command: String,
        /// How long was waited.
        limit: Duration,
    },
    /// QEMU refused the command.
    #[error("QEMU refused `{command}`: {reason}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's own words.
        reason: Text,
    },
    /// An answer of another type.
    #[error("QEMU answered `{command}` with something that is no {what}")]
    Unexpected {
        /// The command.
        command: String,
        /// What was expected.
        what: &'static str,
    },
    /// An answer of another shape.
    #[error("QEMU's answer to `{command}` is not what was expected: {error}")]
    Shape {
        /// The command.
        command: String,
        /// Where it differs.
        error: serde_json::Error,
    },
}

impl QmpError {
    /// What an operator can do, where there is something.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::PathTooLong { .. } => Some("give a shorter or a relative path"),
            Self::Connect { .. } => {
                Some("start QEMU with `-qmp unix:PATH,server=on,wait=off` and name that path")
            }
            Self::Busy { .. } => Some(
                "QEMU serves one client per monitor: close the other one, or give QEMU a second `-qmp`",
            ),
            Self::NotQmp { .. } => {
                Some("name the socket of `-qmp`, not of `-monitor` or a chardev")
            }
            Self::NoPeer { .. } => Some("run poolferry-host in the PID namespace of QEMU"),
            Self::Closed => Some("see QEMU's own log: it may have ended"),
            _ => None,
        }
    }

    /// Whether there is no QEMU behind the socket.
    #[must_use]
    pub fn nobody_listens(&self) -> bool {
        let Self::Connect { error, .. } = self else { return false };
        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
    }

    /// Whether the monitor can be used no more.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        !matches!(
            self,
            Self::Refused { .. }
                | Self::Unexpected { .. }
                | Self::Shape { .. }
                | Self::TimedOut { .. }
        )
    }
}
