//! The messages to a keeper, and its replies.

use serde::{Deserialize, Serialize};

use crate::error::LoadError;
use crate::holder::Holder;
use crate::object::ObjectSettings;

/// A probe to set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbePoint {
    /// The program in the object.
    pub program: String,
    /// File offset for a program that sees returns: it replaces the return address, which must still be on top of the stack.
    pub entry: u64,
    /// File offset for one that sees entries: where one trap is enough.
    pub probe: u64,
    /// What the program gets with each hit.
    pub cookie: Option<u64>,
}

/// The orders to a keeper, in this order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Makes the maps and loads these programs.
    Load { settings: ObjectSettings, programs: Vec<String> },
    /// Sets probes in process `pid`; the file comes with it.
    Attach { pid: u32, sites: Vec<ProbePoint> },
    /// Requests the programs' run time, at any time after.
    RunTime,
}

/// A reply of a keeper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum KeeperReply {
    /// It ends with its maker from here on.
    Ready,
    /// The maps come with it, in this order; and the programs' numbers.
    Loaded { maps: Vec<String>, programs: Vec<u32> },
    /// All probes are set.
    Attached,
    /// It takes long: the kernel waits, for this process where that is known.
    Waits(Option<Holder>),
    /// Nanoseconds, and number of runs.
    RunTime(u64, u64),
    /// There are none.
    Failed(LoadError),
}
