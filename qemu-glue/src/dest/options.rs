//! What the operator chooses.

use std::path::PathBuf;
use std::time::Duration;

use super::devices::Override;
use super::restore::Limits;
use crate::channel::Security;
use crate::qmp::MigrationAddress;

/// What to receive with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Socket of the monitor of a QEMU that was started with `-incoming defer`.
    pub qmp: PathBuf,
    /// Where QEMU is to listen.
    pub migration_address: MigrationAddress,
    /// How the channel is protected.
    pub security: Security,
    /// Storage of devices, before what QEMU's own disks are.
    pub disks: Vec<Override>,
    /// How much the restore may use.
    pub limits: Limits,
    /// How long a source may do nothing while no migration goes on.
    pub silence: Duration,
    /// Set probes on QEMU's functions, for the report's time line.
    pub probes: bool,
}

/// What [`Options::silence`] is without a reason for another. A source's QEMU may take as long to connect, and its library to
/// act.
pub const SILENCE: Duration = Duration::from_secs(60);
