//! The source: skips what storage has, drives QEMU's migration, and reports.
//!
//! [`migrate`] reads as its phases. All decisions are those of one state machine (`controller/`); who sends QEMU `migrate` is a
//! [`Driver`]. Until QEMU takes the `migrate` command nothing has changed for the
//! VM, and whatever fails of ours turns the migration into a stock one. From then on QEMU is
//! throttled while pages are outstanding; whatever fails releases it (see `controller/`).

mod cancel;
mod controller;
mod driver;
mod error;
mod finish;
pub mod hash;
mod monitor;
mod options;
mod peer;
mod planning;
mod record;
mod recovery;
mod run;
pub mod zero;

pub use cancel::{Cancel, Canceller, cancellation};
pub use driver::{Driver, Ourselves};
pub use error::MigrateError;
use migration_record::Report;
pub use options::{MigrationMode, Options, Route, SILENCE};
pub use planning::{plan, preflight};
pub use record::progress::{Snapshot, Update};
pub use recovery::{DONE, Watchdog};
use run::MigrateRun;

/// Migrates a VM and reports to `observer` how it goes. The report has whether it completed.
///
/// # Errors
/// [`MigrateError`] when the migration did not begin; the VM then runs on at the source, and its next
/// migration works. [`MigrateError::Lost`] when QEMU's monitor broke on the way, [`MigrateError::NotEnded`] when QEMU does
/// not end what is cancelled. After `cancel`, all is over within 3 seconds.
pub async fn migrate(
    options: &Options,
    cancel: Cancel,
    observer: &mut (dyn FnMut(&Update) + Send),
) -> Result<Report, MigrateError> {
    migrate_with(&mut Ourselves, options, cancel, observer).await
}

/// [`migrate`], where `driver` makes QEMU begin and end.
///
/// # Errors
/// As [`migrate`].
pub async fn migrate_with(
    driver: &mut impl Driver,
    options: &Options,
    cancel: Cancel,
    observer: &mut (dyn FnMut(&Update) + Send),
) -> Result<Report, MigrateError> {
    let mut run = MigrateRun::connect(options, cancel, observer).await?;
    let ready = run.prepare().await?;
    let driven = run.drive(ready, driver).await?;
    run.put_back(&driven).await;
    run.finish(driven).await;
    run.settle_vm().await;
    Ok(run.report())
}
