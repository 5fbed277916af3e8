//! How the migration of the VM goes, as its host reports it to the guest. For people: nothing depends on it.

use serde::{Deserialize, Serialize};

/// A moment of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// What is going on.
    pub phase: Phase,
    /// Pages of RAM that were left out at the start.
    pub skipped: u64,
    /// Those of them that the destination has restored, or has got by network.
    #[serde(rename = "placed", alias = "installed")]
    pub installed: u64,
    /// Those of them that travel by network after all.
    #[serde(rename = "given_back", alias = "redirtied")]
    pub redirtied: u64,
    /// Bytes that QEMU has yet to send.
    pub remaining_bytes: u64,
}

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The hosts agree on what is left behind.
    Preparing,
    /// QEMU sends its first pass.
    Migrating,
    /// QEMU is throttled: the switchover waits until nothing is outstanding.
    #[serde(rename = "held", alias = "throttled")]
    Throttled,
    /// The VM is about to stop here and go on there.
    SwitchingOver,
    /// It was given up; the VM stays.
    GivenUp,
}
