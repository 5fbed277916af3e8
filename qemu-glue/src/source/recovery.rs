//! A migration whose driver was killed.
//!
//! Nothing of such a migration is wrong, but nobody lets it go: the library keeps it from switching
//! over, at a trickle, and the VM runs on. It is known by the limits that it left and by the library,
//! whose set nobody drives. It is cancelled, so that a new one can begin.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::MigrateError;
use super::query::Migration;
use super::record::Record;
use crate::qmp::Qmp;
use crate::shim::Shim;

/// How long QEMU may take to cancel, and how often it is asked.
const CANCELLING: Duration = Duration::from_secs(30);
const ASK: Duration = Duration::from_millis(50);

/// Cancels the migration that is under way if its limits are those of a hold and nobody drives it.
///
/// # Errors
/// When the monitor fails, or QEMU does not end it.
pub(super) async fn end(
    qmp: &Qmp,
    held: bool,
    record: &mut Record<'_>,
) -> Result<(), MigrateError> {
    let migration = Migration::of(qmp).await?;
    let abandoned = || {
        let shim = qmp.peer_pid().ok().and_then(|pid| Shim::open(pid).ok());
        shim.is_some_and(|shim| shim.is_abandoned())
    };
    if !migration.goes_on() || !held || !abandoned() {
        return Ok(());
    }
    record.remark("a migration whose driver was killed is cancelled first".to_owned());
    qmp.execute("migrate_cancel", json!({})).await?;
    let begun = tokio::time::Instant::now();
    loop {
        let migration = Migration::of(qmp).await?;
        if !migration.goes_on() {
            return Ok(());
        }
        if begun.elapsed() > CANCELLING {
            return Err(MigrateError::UnderWay { status: migration.status.into() });
        }
        sleep(ASK).await;
    }
}
