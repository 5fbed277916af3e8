//! Why a destination ends.

use std::time::Duration;

use thiserror::Error;

use super::controller::QueueError;
use crate::channel::{ChannelError, VERSION};

/// The migration can no longer be served; what was not confirmed is re-dirtied at the source.
#[derive(Debug, Error)]
pub enum ReceiveError {
    /// The channel broke.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The other side speaks another version.
    #[error("the source speaks version {theirs} of the channel, this host {VERSION}")]
    Version {
        /// The source's.
        theirs: u32,
    },
    /// The other side sent a message out of turn.
    #[error("the source sent {got} instead of {expected}")]
    OutOfTurn {
        /// What came.
        got: &'static str,
        /// What should have come.
        expected: &'static str,
    },
    /// The other side does not go on.
    #[error("{} s went by without {expected} from the source", limit.as_secs_f64())]
    Silent {
        /// What should have come.
        expected: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// More pages left to QEMU than there are: each is left to it once.
    #[error("the source leaves more than the {pages} pages of its set to QEMU")]
    Redirtied {
        /// Pages of the set.
        pages: u32,
    },
    /// More or fewer runs than the offer has.
    #[error("the source offered {offered} runs and sent {sent}")]
    Runs {
        /// As in its offer.
        offered: u64,
        /// As they came, at least.
        sent: u64,
    },
    /// Hashes that belong to no page, or to one that had its hash.
    #[error("the source sent hashes that make no sense")]
    Hashes(#[from] QueueError),
}

impl ReceiveError {
    /// Its kind in a few words, where many are counted.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Channel(error) => error.kind(),
            Self::Version { .. } => "of another version",
            Self::OutOfTurn { .. } => "out of turn",
            Self::Silent { .. } => "silent",
            Self::Hashes(_) | Self::Redirtied { .. } | Self::Runs { .. } => "senseless",
        }
    }

    /// What the operator can do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Channel(error) => error.hint(),
            Self::Version { .. } => {
                Some("install the same version of `poolferry-host` on both hosts")
            }
            Self::Silent { .. } => Some("read the output of `poolferry-host` on the source host"),
            Self::OutOfTurn { .. }
            | Self::Hashes(_)
            | Self::Redirtied { .. }
            | Self::Runs { .. } => None,
        }
    }
}
