//! The options of a migration.

use std::path::PathBuf;
use std::time::Duration;

use crate::channel::Security;
use crate::multifd::Multifd;

/// How a VM is to be migrated.
#[derive(Clone, Debug)]
pub struct Options {
    /// QEMU's monitor (QMP, a unix socket).
    pub qmp: PathBuf,
    /// The way.
    pub mode: MigrationMode,
    /// Most bytes per second on the migration link, 0 for no limit; QEMU's setting where `None`.
    pub max_bandwidth: Option<u64>,
    /// Milliseconds that the VM may be stopped for the switchover; QEMU's setting where `None`.
    pub downtime_limit_ms: Option<u64>,
    /// The migration is cancelled when it takes longer.
    pub timeout: Option<Duration>,
    /// Set probes on QEMU's functions, for the report's time line.
    pub probes: bool,
    /// Keep the source QEMU with its paused VM after the migration, instead of sending it `quit`.
    pub leave_paused: bool,
}

/// The way that memory takes.
#[derive(Clone, Debug)]
pub enum MigrationMode {
    /// All of it by QEMU to this URI (`tcp:HOST:PORT`); nothing of Poolferry takes part.
    Stock {
        /// Where the destination's QEMU listens.
        uri: String,
    },
    /// Pages that storage has are skipped.
    Poolferry(Route),
}

/// Whom Poolferry asks, and where it goes.
#[derive(Clone, Debug)]
pub struct Route {
    /// Chardev of the guest agent's port, a unix socket.
    pub agent: PathBuf,
    /// `poolferry-host receive` at the destination, as `HOST:PORT`.
    pub to: String,
    /// Where its QEMU listens (`tcp:HOST:PORT`), where that is known: all of the memory goes there when
    /// nothing can be agreed with `to`.
    pub uri: Option<String>,
    /// How the channel to it is protected.
    pub security: Security,
    /// Let the network take over what it can bring sooner than storage; else it carries only what cannot
    /// come from storage.
    pub share: bool,
    /// How QEMU's own stream travels; as QEMU is set where `None`.
    pub multifd: Option<Multifd>,
    /// How long the guest may take for its page list.
    pub list_timeout: Duration,
    /// How long the destination may settle none of the pages that it has hashes of.
    pub silence: Duration,
}

/// What [`Route::silence`] is without a reason for another. A storage that stalls has its requests answered much sooner.
pub const SILENCE: Duration = Duration::from_secs(30);
