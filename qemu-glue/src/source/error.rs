//! Why a migration did not begin, or cannot be driven any more.

use std::io;
use std::time::Duration;

use foreign::Text;
use thiserror::Error;

use crate::channel::ChannelError;
use crate::qmp::QmpError;

/// The migration did not begin, and the VM runs on at the source; but for [`Self::Lost`] and
/// [`Self::NotEnded`].
#[derive(Debug, Error)]
pub enum MigrateError {
    /// QEMU cannot be queried, or refused a command.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// A migration goes on already.
    #[error("a migration of this VM is under way ({status})")]
    UnderWay {
        /// Its status.
        status: Text,
    },
    /// The VM is not one that can be migrated from here.
    #[error("the VM is in state `{status}`")]
    NotHere {
        /// QEMU's run state.
        status: Text,
    },
    /// The destination's host does not answer.
    #[error("failed to reach `poolferry-host receive` at {to}: {error}")]
    Connect {
        /// Its address.
        to: String,
        /// Why.
        error: io::Error,
    },
    /// The channel to it broke.
    #[error("the channel to {to} failed: {error}")]
    Channel {
        /// Its address.
        to: String,
        /// Why.
        error: ChannelError,
    },
    /// It sent something else than it should.
    #[error("{to} answered with something unexpected: {what}")]
    Unexpected {
        /// Its address.
        to: String,
        /// What it was.
        what: Text,
    },
    /// It will not take the VM.
    #[error("the destination refuses: {reason}")]
    Refused {
        /// Its reason.
        reason: Text,
        /// Its advice.
        hint: Text,
    },
    /// Somebody ended it before it began.
    #[error("ended before the migration began")]
    Cancelled,
    /// Somebody ended it, and QEMU did not confirm it in time: it is not known whether it goes on.
    #[error(
        "the migration was to end ({reason}), and QEMU has not ended it within {} s",
        limit.as_secs_f64()
    )]
    NotEnded {
        /// Why it was to end.
        reason: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The monitor failed while the migration ran: how it went on is not known.
    #[error("QEMU's monitor failed in the middle of the migration: {0}")]
    Lost(QmpError),
}

impl MigrateError {
    /// What an operator can do, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<Text> {
        let hint = match self {
            Self::Qmp(error) => error.hint(),
            Self::UnderWay { .. } => {
                Some("wait for it, or end it with `migrate_cancel` in QEMU's monitor")
            }
            Self::NotHere { .. } => {
                Some("a VM that has migrated away, or has not arrived yet, is at the other host")
            }
            Self::Connect { .. } => Some(
                "start `poolferry-host receive` beside the destination's QEMU first; or name where that QEMU \
                     listens (`--uri tcp:HOST:PORT`), and without a receiver the whole memory goes there",
            ),
            Self::Channel { error, .. } => error.hint(),
            Self::Unexpected { .. } => {
                Some("install the same version of `poolferry-host` on both hosts")
            }
            Self::Refused { hint, .. } => {
                return Some(hint.clone()).filter(|hint| !hint.is_empty());
            }
            Self::Cancelled => None,
            Self::Lost(_) | Self::NotEnded { .. } => Some(
                "see whether both QEMUs are alive, and `query-migrate` at the source, before any VM \
                 is told to run",
            ),
        };
        hint.map(Text::from)
    }
}
