//! What the controller wants done.

use std::fmt;

use super::convergence::Lost;
use super::skip::RestoreTrouble;
use crate::channel::{Message, SetRange};
use crate::error_chain;
use crate::shim::MigrationParameters;

/// Something to do; those of one step in their order.
#[derive(Debug)]
pub(in crate::source) enum Command {
    /// Query QEMU for its progress; [`Input::Qemu`](super::Input::Qemu) is the answer.
    QueryQemu,
    /// Set QEMU's migration parameters.
    SetParameters(MigrationParameters),
    /// Send QEMU `migrate_cancel`.
    CancelMigration,
    /// Confirm to the library that these pages are at the destination.
    Confirm(Vec<SetRange>),
    /// Have the library mark these pages as written, so that QEMU sends them.
    Redirty(Vec<SetRange>),
    /// Take the set back, if no migration has taken it yet.
    Disarm,
    /// Look at the library's memory now; [`Input::Look`](super::Input::Look) is the answer.
    ReadLibrary,
    /// Let QEMU switch over.
    Release,
    /// Begin to hash the set's pages, and to look at its zero pages again.
    StartReading,
    /// End that.
    StopReading,
    /// Send this; [`Input::ChannelFull`](super::Input::ChannelFull) where the channel has no room.
    Send(Message),
    /// Send this if there is room.
    Notify(Message),
    /// The next step of the migration begins, for the report.
    Enter(&'static str),
    /// Report this to the user, and in the record.
    Warn(Warning),
    /// QEMU's migration has ended.
    End,
}

/// What a user should know.
#[derive(Debug)]
pub(in crate::source) enum Warning {
    /// The rest of the set travels by network.
    Trouble(RestoreTrouble),
    /// The migration is cancelled, for this reason.
    Cancelled(String),
    /// QEMU waits before the switchover, as somebody has set it to.
    Paused,
    /// QEMU does not catch up with the guest.
    NotConverging(Lost),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trouble(trouble) => {
                write!(f, "the rest of the memory goes by network: {}", error_chain(trouble))
            }
            Self::Cancelled(reason) => write!(f, "the migration is cancelled: {reason}"),
            Self::Paused => f.write_str(
                "QEMU waits before the switchover, with the VM stopped, until whoever has set \
                 `pause-before-switchover` lets it go on (`migrate-continue`)",
            ),
            Self::NotConverging(lost) => lost.fmt(f),
        }
    }
}
