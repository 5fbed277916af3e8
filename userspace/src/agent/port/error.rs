//! Why there is no port.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// The port cannot be had.
#[derive(Debug, Error)]
pub enum PortError {
    /// The socket cannot be listened on.
    #[error("failed to listen on the socket `{path}`")]
    Listen {
        /// Where.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// There is no descriptor left.
    #[error("failed to make a descriptor")]
    Descriptor(#[source] io::Error),
}

impl PortError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        let Self::Listen { source, .. } = self else {
            return Some("let the agent have more open files (`ulimit -n`)");
        };
        match source.kind() {
            io::ErrorKind::AddrInUse => Some("another agent listens there; choose another path"),
            io::ErrorKind::NotFound => Some("make the folder of the socket first"),
            _ => None,
        }
    }
}
