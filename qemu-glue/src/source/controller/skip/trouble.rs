//! What keeps pages of the set from being verified. It ends the restore, never the migration.

use std::io;
use std::time::Duration;

use foreign::Text;
use thiserror::Error;

use super::ledger::LedgerError;
use crate::channel::ChannelError;
use crate::shim::LibraryRefusal;

/// Why the rest of the set travels by network.
#[derive(Debug, Error)]
pub(in crate::source) enum RestoreTrouble {
    /// The channel broke.
    #[error("the channel to the destination broke")]
    ChannelBroke(#[source] ChannelError),
    /// The channel was closed.
    #[error("the channel to the destination ended")]
    ChannelEnded,
    /// It does not read.
    #[error("the channel to the destination takes no more hashes")]
    ChannelFull,
    /// It has hashes, and settles nothing.
    #[error("the destination settled no page for {} s", limit.as_secs_f64())]
    PeerSilent {
        /// For so long.
        limit: Duration,
    },
    /// It settles pages, and too few of them.
    #[error(
        "the destination settled {pages} pages in {:.1} s, and should settle {:.0} KiB of memory a second: {}",
        time.as_secs_f64(), least / 1024.0,
        if network.is_some() { "QEMU sends the rest much sooner" } else { "no storage is so slow" }
    )]
    PeerSlow {
        /// So many.
        pages: u64,
        /// In so much time in which it had some to settle.
        time: Duration,
        /// Bytes a second that are expected.
        least: f64,
        /// Bytes a second that QEMU sends, once that is known.
        network: Option<f64>,
    },
    /// It ended the restore before the migration ended.
    #[error("the destination has ended the restore")]
    PeerEnded,
    /// It restores no more.
    #[error("the destination gave up: {reason}")]
    PeerGaveUp {
        /// In its own words.
        reason: Text,
    },
    /// A message that has no place here.
    #[error("the destination sent a message out of turn")]
    OutOfTurn,
    /// Each page has one answer.
    #[error("the destination answered for more pages than the set has")]
    TooManyAnswers,
    /// An answer that cannot be so.
    #[error(transparent)]
    Answer(#[from] LedgerError),
    /// The library skips nothing.
    #[error("the library in QEMU skips nothing{}", refusal.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    LibraryRefused {
        /// Why.
        refusal: Option<LibraryRefusal>,
    },
    /// The migration ended before it began.
    #[error("the library in QEMU has ended before it began")]
    LibraryEnded,
    /// A migration goes on that it knows nothing of.
    #[error("the library in QEMU did not see the migration begin")]
    LibraryMissed,
    /// It has not hinted the set in time.
    #[error("the library in QEMU did not act within {} s", limit.as_secs())]
    LibrarySilent {
        /// The time that it had.
        limit: Duration,
    },
    /// The system gives no thread.
    #[error("no thread to read the memory with")]
    NoThread(#[source] io::Error),
}

impl RestoreTrouble {
    /// Its name in reports (`redirtied_by_reason`), which stays.
    pub(in crate::source) const fn name(&self) -> &'static str {
        match self {
            Self::ChannelBroke(_) => "channel-broke",
            Self::ChannelEnded => "channel-ended",
            Self::ChannelFull => "channel-full",
            Self::PeerSilent { .. } => "peer-silent",
            Self::PeerSlow { .. } => "peer-slow",
            Self::PeerEnded => "peer-ended",
            Self::PeerGaveUp { .. } => "peer-gave-up",
            Self::OutOfTurn | Self::TooManyAnswers | Self::Answer(_) => "peer-not-believed",
            Self::LibraryRefused { .. } => "library-refused",
            Self::LibraryEnded => "library-ended",
            Self::LibraryMissed => "library-missed",
            Self::LibrarySilent { .. } => "library-silent",
            Self::NoThread(_) => "no-thread",
        }
    }
}
