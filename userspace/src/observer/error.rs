//! Why observing ends, or cannot begin.

use thiserror::Error;

use crate::frames::FramesError;
use crate::locate::LocateError;
use crate::memory::MemoryError;
use crate::page_list::BuildError;
use crate::pool_map::PoolMapError;
use crate::probes::ProbesError;
use crate::server::ServerError;
use crate::validation::ValidationError;

/// Observing had to end, or could not begin.
#[derive(Debug, Error)]
pub enum ObserveError {
    /// The server cannot be observed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The probes cannot be set or read.
    #[error(transparent)]
    Probes(#[from] ProbesError),
    /// The descriptors cannot be read.
    #[error("failed to read the pool")]
    Memory(#[from] MemoryError),
    /// The files cannot be looked at.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// Frames cannot be translated.
    #[error(transparent)]
    Frames(#[from] FramesError),
    /// The pool cannot be found any more.
    #[error(transparent)]
    PoolMap(#[from] PoolMapError),
    /// The profile does not fit any more.
    #[error(transparent)]
    Validation(#[from] ValidationError),
    /// A page list could not be made.
    #[error(transparent)]
    List(#[from] BuildError),
    /// The server is gone.
    #[error("the server (pid {pid}) has exited or executed another program")]
    Exited {
        /// Its process id.
        pid: u32,
    },
}

impl ObserveError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Probes(error) => Some(error.hint().to_owned()),
            Self::Memory(error) => error.hint().map(str::to_owned),
            Self::Validation(error) => error.hint().map(str::to_owned),
            Self::Exited { .. } => {
                Some("start again to attach to the server's new process".to_owned())
            }
            _ => None,
        }
    }
}
