//! What keeps this module from looking at all (a page without a place is [`NotOnDisk`] instead).
//!
//! [`NotOnDisk`]: super::NotOnDisk

use crate::on_disk::ProcessError;

/// The server's files could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// The process cannot be looked at.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The thread that looks at the files could not be started, or has ended.
    #[error("the thread that looks at the server's files is not there")]
    Looker,
}

impl LocateError {
    /// What an operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Process(error) => error.hint(),
            Self::Looker => Some("start again; `ulimit -u` may be too low"),
        }
    }
}
