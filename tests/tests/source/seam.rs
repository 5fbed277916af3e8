//! Somebody else than this program sends QEMU `migrate`: a scripted second driver.

use qemu_glue::qmp::{Qmp, QmpError};
use qemu_glue::source::{self, Driver, Update, cancellation};
use serde_json::json;

use crate::fixture::{Fixture, Setting};
use crate::guest::PAGES;
use crate::lab::{Lab, on_each_qemu};
use crate::vm::Vm;

on_each_qemu!(begins, ends);

/// Somebody at another monitor of the source's QEMU.
struct Somebody<'a> {
    vm: &'a Vm,
    calls: Vec<&'static str>,
}

impl Driver for Somebody<'_> {
    async fn begin(&mut self, _: &Qmp, uri: &str) -> Result<(), QmpError> {
        self.calls.push("begin");
        self.vm.qmp.execute("migrate", json!({ "uri": uri })).await.map(drop)
    }

    async fn cancel(&mut self, _: &Qmp) -> Result<(), QmpError> {
        self.calls.push("cancel");
        self.vm.qmp.execute("migrate_cancel", json!({})).await.map(drop)
    }
}

/// Pages are skipped and arrive as when this program does it.
async fn begins(lab: &Lab) {
    let fixture = Fixture::new(lab, Setting::default()).await;
    let mut somebody = Somebody { vm: &fixture.source, calls: Vec::new() };
    let (address, receiver) = fixture.receiver().await;
    let (_canceller, cancel) = cancellation();
    let options = fixture.options(address);
    let migrated = source::migrate_with(&mut somebody, &options, cancel, &mut |_| {}).await;
    assert_eq!(somebody.calls, ["begin"]);
    receiver.await.unwrap().unwrap();
    let report = migrated.unwrap();
    fixture.assert_identical(&report).await;
    assert_eq!(report.pages.installed, PAGES, "{:?}", report.redirtied_by_reason);
}

/// He ends it, and the VM stays.
async fn ends(lab: &Lab) {
    let fixture =
        Fixture::new(lab, Setting { bandwidth: Some(8 << 20), ..Setting::default() }).await;
    let mut somebody = Somebody { vm: &fixture.source, calls: Vec::new() };
    let (address, receiver) = fixture.receiver().await;
    let (canceller, cancel) = cancellation();
    let mut observer = |update: &Update| {
        if matches!(update, Update::Snapshot(snapshot) if snapshot.skipped_pages > 0) {
            canceller.cancel("enough");
        }
    };
    let options = fixture.options(address);
    let migrated = source::migrate_with(&mut somebody, &options, cancel, &mut observer).await;
    assert_eq!(somebody.calls, ["begin", "cancel"]);
    drop(receiver);
    assert_eq!(migrated.unwrap().status, migration_record::MigrationStatus::Cancelled);
    fixture.assert_runs_on().await;
}
