//! A migration whose driver was killed, and QEMU's migration parameters that it has changed.
//!
//! Nothing of such a migration is wrong, but it is never released: it goes on throttled, and the VM runs on. The library's memory
//! has the parameters that are to be restored; a watchdog that has stood by has seen to that. Else the next driver does, after it
//! has cancelled a migration without a driver, so that a new migration can begin.

mod watchdog;

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::qmp::{Qmp, QmpError};
use crate::shim::{Shim, ShimError};
use crate::source::error::MigrateError;
use crate::source::monitor::migration_info::MigrationInfo;
use crate::source::monitor::settings;
use crate::source::record::ReportBuilder;
pub use watchdog::{DONE, Watchdog};

/// How long QEMU may take to cancel, and how often it is queried.
const CANCELLING: Duration = Duration::from_secs(30);
const QUERY_INTERVAL: Duration = Duration::from_millis(50);
/// How long a watchdog may have the library for itself.
const RESERVED: Duration = Duration::from_secs(2);

/// Gives QEMU the user's parameters again, should a driver that is gone have changed them, and cancels its migration.
///
/// # Errors
/// When the monitor fails, or QEMU does not end what is cancelled.
pub(in crate::source) async fn recover(
    qmp: &Qmp,
    record: &mut ReportBuilder<'_>,
) -> Result<(), MigrateError> {
    let Some(shim) = library(qmp).await else { return Ok(()) };
    if shim.saved().is_none() {
        return Ok(());
    }
    if MigrationInfo::of(qmp).await?.goes_on() && shim.is_abandoned() {
        record.warn("a migration whose driver was killed is cancelled first".to_owned());
        cancel(qmp).await?;
    }
    if put_back(qmp, &shim).await? {
        record.warn("limits of a migration whose driver was killed were replaced".to_owned());
    }
    Ok(())
}

/// Gives QEMU the parameters that the library keeps: those for the migration that goes on, else the user's. `false`
/// where it keeps none.
///
/// # Errors
/// When QEMU refuses or the monitor fails.
pub(in crate::source) async fn put_back(qmp: &Qmp, shim: &Shim) -> Result<bool, QmpError> {
    let Some(saved) = shim.saved() else { return Ok(false) };
    let goes_on = MigrationInfo::of(qmp).await?.goes_on();
    let parameters = if goes_on { saved.migration } else { saved.user };
    settings::set_parameters(qmp, &parameters).await?;
    // One that goes on has no driver, and what is left of it is not to be mended twice.
    shim.forget();
    Ok(true)
}

/// The library, where QEMU has loaded it and it has no driver.
async fn library(qmp: &Qmp) -> Option<Shim> {
    let pid = qmp.peer_pid().ok()?;
    let begun = Instant::now();
    loop {
        match Shim::find(pid).await {
            // A watchdog is about to put the parameters back.
            Err(ShimError::Reserved { .. }) if begun.elapsed() < RESERVED => {
                sleep(QUERY_INTERVAL).await
            }
            opened => return opened.ok(),
        }
    }
}

async fn cancel(qmp: &Qmp) -> Result<(), MigrateError> {
    qmp.execute("migrate_cancel", json!({})).await?;
    let begun = Instant::now();
    loop {
        let migration = MigrationInfo::of(qmp).await?;
        if !migration.goes_on() {
            return Ok(());
        }
        if begun.elapsed() > CANCELLING {
            return Err(MigrateError::UnderWay { status: migration.status.into() });
        }
        sleep(QUERY_INTERVAL).await;
    }
}
