//! What the destination reports to its operator.

use foreign::Text;
use serde::Serialize;

use crate::channel::{Finish, Finished, Progress, Ready};
use crate::set::SkipSet;

/// Receives all events.
pub type Observer<'a> = &'a mut (dyn FnMut(&ReceiveEvent) + Send);

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum ReceiveEvent {
    /// A source has connected and sent its hello.
    Connected {
        /// The migration's name.
        migration: Text,
    },
    /// This host can restore, and QEMU listens.
    Ready {
        /// Where QEMU listens.
        uri: Text,
        /// Pages of the set.
        pages: u32,
        /// Bytes of RAM that the set covers.
        bytes: u64,
        /// Devices that cannot be read, by index, with the reason.
        devices_left_out: Vec<(u16, Text)>,
    },
    /// This host does not restore.
    Refused {
        /// Why.
        reason: Text,
        /// What the operator can do; may be empty.
        hint: Text,
    },
    /// How far it is.
    Progress(Progress),
    /// The end.
    Finished {
        /// How it ended.
        outcome: Outcome,
    },
}

impl ReceiveEvent {
    pub(super) fn ready(ready: &Ready, set: &SkipSet) -> Self {
        Self::Ready {
            uri: ready.uri.clone(),
            pages: set.pages(),
            bytes: set.bytes(),
            devices_left_out: ready.devices_left_out.clone(),
        }
    }
}

/// How a migration ended, seen from the destination.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Its name.
    pub migration: Text,
    /// As the source reported it.
    pub finish: Finish,
    /// What was restored.
    pub finished: Finished,
    /// Why nothing was restored.
    pub refused: Option<Text>,
}
