//! Migrations in which nothing fails.

use std::time::Duration;

use migration_record::MigrationStatus;
use qemu_glue::source::{Update, cancellation};
use serde_json::json;
use test_servers::skipped;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::fixture::{Fixture, Setting};
use crate::guest::{Busy, PAGES};
use crate::lab::{Lab, on_each_qemu, wait_for};

on_each_qemu!(idle, busy, differing, paused_before_switchover, guest_reset, stock);

/// Before 9.0 (commit 03bfc2188f), QEMU without KVM can itself miss what the guest writes.
fn misses_writes(lab: &Lab) -> bool {
    lab.qemu.reported_version().unwrap() < (9, 0)
}

/// All that is listed is skipped, and arrives.
async fn idle(lab: &Lab) {
    let fixture = Fixture::new(lab, Setting::default()).await;
    let report = fixture.migrate().await;
    fixture.assert_identical(&report).await;
    let pages = report.pages;
    assert!(pages.zero > 0, "most of this guest's memory is zero: {pages:?}");
    assert_eq!((pages.listed, pages.skipped - pages.zero), (PAGES, PAGES));
    assert_eq!(report.pages.installed, PAGES, "{:?}", report.redirtied_by_reason);
    assert!(report.network_bytes < PAGES * 4096 / 10, "{} bytes", report.network_bytes);
    assert!(report.list_s.contains_key("total") && report.syncs.len() >= 2);
    println!(
        "{:.2} s, downtime {} ms, {} of network, {} syncs",
        report.total_time_s, report.downtime_ms, report.network_bytes, report.dirty_syncs
    );
}

/// The guest writes pages of the set all the while.
async fn busy(lab: &Lab) {
    let busy = Busy { first_page: 5000, pages: 300 };
    let fixture = Fixture::new(lab, Setting { busy, ..Setting::default() }).await;
    let report = fixture.migrate().await;
    if misses_writes(lab) {
        let name = format!("whole::busy with {:?}", lab.qemu.release());
        return skipped(&name, "this QEMU misses writes of the guest without KVM");
    }
    fixture.assert_identical(&report).await;
    let pages = report.pages;
    assert!(pages.installed >= PAGES - 300, "{pages:?}");
    // The guest had changed them since the disk was written: they can only come by network.
    assert!(pages.redirtied + pages.already_present >= 200, "{pages:?}");
}

/// Storage has other bytes than memory in some places.
async fn differing(lab: &Lab) {
    let fixture = Fixture::new(lab, Setting::default()).await;
    fixture.spoil(100, 50);
    let report = fixture.migrate().await;
    fixture.assert_identical(&report).await;
    assert_eq!(report.pages.redirtied, 200);
    assert_eq!(report.redirtied_by_reason.get("differs"), Some(&200));
}

/// Somebody has set QEMU to wait before the switchover, as libvirt does: he alone lets it go on.
async fn paused_before_switchover(lab: &Lab) {
    let fixture = Fixture::new(lab, Setting::default()).await;
    fixture.source.set_capability("pause-before-switchover", true).await;
    let status = async || {
        let migration = fixture.source.execute("query-migrate", json!({})).await;
        migration["status"].clone()
    };
    let somebody = async {
        wait_for("QEMU waits", async || status().await == "pre-switchover").await;
        // Ten times as long as QEMU is asked.
        sleep(Duration::from_secs(1)).await;
        let waits = status().await;
        let state = json!({ "state": "pre-switchover" });
        let _ = fixture.source.qmp.execute("migrate-continue", state).await;
        assert_eq!(waits, "pre-switchover", "it was continued by another");
    };
    let (report, ()) = tokio::join!(fixture.migrate(), somebody);
    fixture.assert_identical(&report).await;
    assert_eq!(report.pages.installed, PAGES);
    let is_reported =
        report.warnings.iter().any(|warning| warning.contains("pause-before-switchover"));
    assert!(is_reported, "{:#?}", report.warnings);
}

/// Somebody resets the VM while its pages are skipped: it begins anew, and writes over them.
async fn guest_reset(lab: &Lab) {
    // Few enough to fit into the downtime at this speed.
    let busy = Busy { first_page: 5000, pages: 50 };
    let setting = Setting { busy, bandwidth: Some(8 << 20), ..Setting::default() };
    let fixture = Fixture::new(lab, setting).await;
    let (address, _receiver) = fixture.receiver().await;
    let (_canceller, cancel) = cancellation();
    let (sender, mut events) = mpsc::unbounded_channel();
    let mut observer = |update: &Update| {
        if matches!(update, Update::Snapshot(snapshot) if snapshot.skipped_pages > 0) {
            let _ = sender.send(());
        }
    };
    let migration = fixture.migrate_to(address, cancel, &mut observer);
    let reset = async {
        events.recv().await;
        fixture.source.execute("system_reset", json!({})).await;
    };
    let (report, ()) = tokio::join!(migration, reset);
    let report = report.unwrap();
    assert_eq!(report.status, MigrationStatus::Completed, "{report:?}");
    if misses_writes(lab) {
        let name = format!("whole::guest_reset with {:?}", lab.qemu.release());
        return skipped(&name, "this QEMU misses writes of the guest without KVM");
    }
    fixture.assert_identical(&report).await;
}

/// QEMU alone, measured in the same way.
async fn stock(lab: &Lab) {
    let busy = Busy { first_page: 5000, pages: 300 };
    let fixture = Fixture::new(lab, Setting { busy, ..Setting::default() }).await;
    let report = fixture.migrate_stock().await;
    if misses_writes(lab) {
        let differing = fixture.differing_pages().len();
        return println!("{:?}: {differing} pages differ without us", lab.qemu.release());
    }
    fixture.assert_identical(&report).await;
    assert_eq!((report.mode.raw(), report.pages.skipped), ("stock", 0));
    assert!(report.network_bytes > PAGES * 4096 && !report.samples.is_empty());
}
