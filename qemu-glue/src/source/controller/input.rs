//! The controller's inputs: everything that it decides on, but the moment.

use std::io;

use crate::channel::{ChannelError, Message, SetRange};
use crate::shim::LibraryStatus;
use crate::source::hash::Hashed;
use crate::source::monitor::migration_info::{MigrationInfo, Stage};
use crate::source::zero::ZeroCheck;

/// The state of the library's memory: its account of the pages is the one that counts.
#[derive(Debug)]
pub(in crate::source) struct Library {
    /// Its state and its figures.
    pub(in crate::source) status: LibraryStatus,
    /// Pages that it has re-dirtied, if it has re-dirtied some by itself since the look before; else none.
    pub(in crate::source) redirtied: Vec<SetRange>,
}

/// Something that has happened.
#[derive(Debug)]
pub(in crate::source) enum Input {
    /// The set is armed, if there is one. QEMU's `migrate` comes next.
    Armed,
    /// QEMU has got `migrate`.
    Begun,
    /// Some time has gone by; the library's memory now, where a set is armed.
    Look(Option<Box<Library>>),
    /// QEMU's answer to [`QueryQemu`](super::Command::QueryQemu).
    Qemu {
        /// All of one moment.
        migration: Box<MigrationInfo>,
        /// Whether the channel takes a message without waiting.
        channel_has_room: bool,
    },
    /// QEMU has ended the bitmap sync of this number.
    Pass(u64),
    /// QEMU's migration has changed to this stage.
    Stage(Stage),
    /// The VM runs, or does not any more, whatever the cause.
    Runs(bool),
    /// A message of the destination.
    Peer(Message),
    /// No message follows from the destination, for this reason or for none.
    ChannelGone(Option<ChannelError>),
    /// The channel did not take what was to be sent.
    ChannelFull,
    /// Hashes of pages, taken after the hint had returned.
    Hashed(Hashed),
    /// No more hashes come: all pages that can be read are hashed.
    HashesEnded,
    /// Zero pages were looked at again after the hint had returned.
    ZerosChecked(ZeroCheck),
    /// All of them were.
    ZerosEnded,
    /// There is no thread to read memory with.
    NoThread(io::Error),
    /// Somebody ends the migration; why.
    Cancel(String),
}
