//! Migrations with nothing but QEMU: what Poolferry is measured against.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::mode::Mode;
use crate::vm::Machine;
use crate::watch::{Ended, Watch};

/// Port of the migration at the destination.
const PORT: u16 = 4444;
/// Capabilities that modes differ in.
const CAPABILITIES: [&str; 4] = ["multifd", "xbzrle", "auto-converge", "postcopy-ram"];
/// Connections of multifd.
const CHANNELS: u32 = 4;
/// Bytes that XBZRLE remembers.
const XBZRLE_CACHE: u64 = 256 << 20;

/// Makes both QEMUs ready for `mode`; an earlier migration may have been in another.
///
/// # Errors
/// QEMU cannot do it.
pub fn prepare(mode: Mode, source: &mut Machine, destination: &mut Machine) -> Result<()> {
    let on = match mode {
        Mode::Multifd | Mode::MultifdZstd => Some("multifd"),
        Mode::Xbzrle => Some("xbzrle"),
        Mode::AutoConverge => Some("auto-converge"),
        Mode::Postcopy => Some("postcopy-ram"),
        _ => None,
    };
    let set = |name| json!({ "capability": name, "state": Some(name) == on });
    let capabilities: Vec<Value> = CAPABILITIES.into_iter().map(set).collect();
    let compression = if mode == Mode::MultifdZstd { "zstd" } else { "none" };
    for machine in [source, destination] {
        let monitor = machine.monitor();
        monitor.execute("migrate-set-capabilities", json!({ "capabilities": capabilities }))?;
        let parameters = json!({
            "multifd-channels": CHANNELS,
            "multifd-compression": compression,
            "xbzrle-cache-size": XBZRLE_CACHE,
        });
        monitor.execute("migrate-set-parameters", parameters)?;
    }
    Ok(())
}

/// Migrates, and watches.
///
/// # Errors
/// QEMU refuses something, or does not come to an end within `limit`.
pub fn migrate(
    mode: Mode,
    source: &mut Machine,
    destination: &mut Machine,
    watch: &mut Watch,
    limit: Duration,
) -> Result<Ended> {
    let address = destination.host().migration_address();
    let uri = format!("tcp:{address}:{PORT}");
    destination.monitor().execute("migrate-incoming", json!({ "uri": uri }))?;
    source.monitor().execute("migrate", json!({ "uri": uri }))?;
    if mode == Mode::Postcopy {
        // At once: the whole memory follows the VM, as its users want it for a VM that never converges.
        source.monitor().execute("migrate-start-postcopy", json!({}))?;
    }
    watch.to_end(source, limit)
}
