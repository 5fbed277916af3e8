//! One migration with probes on both sides.

use std::time::Duration;

use migration_record::Side;
use qemu_glue::timeline::{Calls, Recorder, now_ns};
use serde_json::{Value, json};
use test_qemus::Qemu;
use tokio::time::sleep;

use crate::guest;
use crate::vm::Vm;

/// The reports of both.
pub(crate) struct Migrated {
    /// `query-migrate` of the source.
    pub(crate) info: Value,
    pub(crate) calls: [Calls; 2],
    /// The calls of source and destination since the `migrate` command.
    pub(crate) source: Side,
    pub(crate) destination: Side,
}

/// Migrates the busy VM. It cannot converge at first, so that there are several syncs.
pub(crate) async fn migrate(qemu: &Qemu) -> Migrated {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let disk = guest::disk(folder);
    let uri = format!("unix:{}", folder.join("migration").display());
    let source = Vm::start(qemu, folder, "source", &disk, &[]).await;
    let destination = Vm::start(qemu, folder, "destination", &disk, &["-incoming", "defer"]).await;
    // The firmware needs a while until the boot sector runs.
    sleep(Duration::from_secs(3)).await;
    let recorders = [&source, &destination].map(|vm| Recorder::attach(vm.pid()).unwrap());
    destination.execute("migrate-incoming", json!({"uri": uri})).await;
    let slow = json!({"max-bandwidth": 2 << 20, "downtime-limit": 10});
    source.execute("migrate-set-parameters", slow).await;
    let begun_ns = now_ns();
    source.execute("migrate", json!({"uri": uri})).await;
    sleep(Duration::from_secs(3)).await;
    let fast = json!({"max-bandwidth": 64 << 20, "downtime-limit": 300});
    source.execute("migrate-set-parameters", fast).await;
    let info = source.migrated().await;
    // The destination starts its VM after the source has ended.
    sleep(Duration::from_millis(500)).await;
    let calls = recorders.map(|recorder| recorder.finish().unwrap());
    let [from, to] = calls.each_ref().map(|calls| calls.side(begun_ns));
    Migrated { info, calls, source: from, destination: to }
}
