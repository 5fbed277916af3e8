//! A migration with nothing but QEMU: what Poolferry is measured against.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::vm::Machine;
use crate::watch::{Ended, Watch};

/// Port of the migration at the destination.
const PORT: u16 = 4444;
/// Migrates, and watches.
///
/// # Errors
/// QEMU refuses something, or does not come to an end within `limit`.
pub fn migrate(
    source: &mut Machine,
    destination: &mut Machine,
    watch: &mut Watch,
    limit: Duration,
) -> Result<Ended> {
    let address = destination.host().migration_address();
    let uri = format!("tcp:{address}:{PORT}");
    destination.monitor().execute("migrate-incoming", json!({ "uri": uri }))?;
    source.monitor().execute("migrate", json!({ "uri": uri }))?;
    watch.to_end(source, limit)
}
