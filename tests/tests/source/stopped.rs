//! Somebody else stops the VM in the middle of a migration, and lets it run on or does not.
//!
//! The library re-dirties everything by itself then, as at a switchover. The host has to learn of it: nothing is left to wait
//! for, so QEMU is not throttled.

use std::time::Duration;

use migration_record::Report;
use qemu_glue::source::{self, MigrationMode, Update, cancellation};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::faults::{agrees, listening};
use crate::fixture::{Fixture, Setting};
use crate::guest::PAGES;
use crate::lab::{Lab, on_each_qemu};

on_each_qemu!(and_stays_so, and_runs_on);

/// Longer than the test: what is waited for is not the destination.
const SILENCE: Duration = Duration::from_secs(300);
/// All of the guest's memory takes QEMU a second.
const LIMIT: Duration = Duration::from_secs(20);

async fn and_stays_so(lab: &Lab) {
    stopped(lab, None).await;
}

async fn and_runs_on(lab: &Lab) {
    stopped(lab, Some(Duration::from_millis(500))).await;
}

/// A destination that settles nothing keeps the migration throttled; the VM is stopped then, for so long or for good.
async fn stopped(lab: &Lab, pause: Option<Duration>) {
    let fixture = Fixture::new(lab, Setting::default()).await;
    let uri = listening(&fixture).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = fixture.options(listener.local_addr().unwrap().to_string());
    options.timeout = Some(LIMIT);
    if let MigrationMode::Poolferry(route) = &mut options.mode {
        route.silence = SILENCE;
    }
    let receiver = tokio::spawn(async move {
        let (_sender, mut receiver) = agrees(listener, uri).await;
        while receiver.receive().await.is_ok() {}
    });
    let (sender, mut held) = mpsc::unbounded_channel();
    let mut observer = |update: &Update| {
        if matches!(update, Update::Snapshot(snapshot) if snapshot.waits_for == "storage") {
            let _ = sender.send(());
        }
    };
    let (_canceller, cancel) = cancellation();
    let migration = source::migrate(&options, cancel, &mut observer);
    let somebody = async {
        held.recv().await;
        fixture.source.execute("stop", json!({})).await;
        if let Some(pause) = pause {
            sleep(pause).await;
            // It may have migrated by now.
            let _ = fixture.source.qmp.execute("cont", json!({})).await;
        }
    };
    let (report, ()) = tokio::join!(migration, somebody);
    receiver.abort();
    let report: Report = report.unwrap();
    println!("{:.1} s, {:?}", report.total_time_s, report.redirtied_by_reason);
    fixture.assert_identical(&report).await;
    let sent = report.redirtied_by_reason.get("unconfirmed").copied();
    assert!(sent >= Some(PAGES), "{:?}", report.redirtied_by_reason);
}
