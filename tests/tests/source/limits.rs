//! The user's limits and settings of the migration.

use qemu_glue::multifd::Multifd;
use qemu_glue::source::{self, Cancel, MigrateError, MigrationMode, Options, Update, cancellation};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::driver::{Driver, Relay, is_held};
use crate::fixture::{Fixture, Setting};
use crate::guest::PAGES;
use crate::lab::{Lab, on_each_qemu, wait_for};

on_each_qemu!(put_back, left_behind, odd_numbers, not_begun, under_way);

/// After a migration that did not take place, QEMU has the limits that it had.
async fn put_back(lab: &Lab) {
    let mut fixture =
        Fixture::new(lab, Setting { bandwidth: Some(8 << 20), ..Setting::default() }).await;
    let set = json!({ "max-bandwidth": 7_000_000, "downtime-limit": 222 });
    fixture.source.set_parameters(set).await;
    // QEMU at the destination is gone when the source connects to it.
    let (address, _receiver) = fixture.receiver().await;
    let (canceller, cancel) = cancellation();
    let mut cancel_at_once = |update: &Update| {
        if matches!(update, Update::Snapshot(snapshot) if snapshot.skipped_pages > 0) {
            canceller.cancel("enough");
        }
    };
    fixture.migrate_to(address, cancel, &mut cancel_at_once).await.unwrap();
    let now = fixture.source.execute("query-migrate-parameters", json!({})).await;
    assert_eq!((&now["max-bandwidth"], &now["downtime-limit"]), (&json!(7_000_000), &json!(222)));
    let on = fixture.source.execute("query-migrate-capabilities", json!({})).await;
    let events = on.as_array().unwrap().iter().find(|c| c["capability"] == "events").unwrap();
    assert_eq!(events["state"], false);
    fixture.new_destination().await;
    let report = fixture.migrate().await;
    fixture.assert_identical(&report).await;
}

/// QEMU's migration parameters.
async fn settings(fixture: &Fixture<'_>) -> [Value; 2] {
    let capabilities = fixture.source.execute("query-migrate-capabilities", json!({})).await;
    [capabilities, fixture.source.execute("query-migrate-parameters", json!({})).await]
}

/// A migration that is to be compressed, and does not begin.
async fn refused(
    fixture: &Fixture<'_>,
    to: String,
    cancel: Cancel,
    observer: &mut (dyn FnMut(&Update) + Send),
) -> MigrateError {
    let mut options: Options = fixture.options(to);
    if let MigrationMode::Poolferry(route) = &mut options.mode {
        route.multifd = Some(Multifd { channels: 4, compression: "zlib".to_owned() });
    }
    source::migrate(&options, cancel, observer).await.unwrap_err()
}

/// Whatever keeps a migration from beginning, the settings that it was to have are not the next one's.
async fn not_begun(lab: &Lab) {
    let fixture = Fixture::new(lab, Setting::default()).await;
    let before = settings(&fixture).await;
    let (_canceller, cancel) = cancellation();
    let nobody = "127.0.0.1:1".to_owned();
    let error = refused(&fixture, nobody, cancel, &mut |_| {}).await;
    assert!(matches!(error, MigrateError::Connect { .. }), "{error}");
    assert_eq!(settings(&fixture).await, before);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let (canceller, cancel) = cancellation();
    let mut enough = |update: &Update| {
        if matches!(update, Update::Step { name: "negotiation" }) {
            canceller.cancel("enough");
        }
    };
    let error = refused(&fixture, silent, cancel, &mut enough).await;
    assert!(matches!(error, MigrateError::Cancelled), "{error}");
    assert_eq!(settings(&fixture).await, before);
    let report = fixture.migrate_stock().await;
    fixture.assert_identical(&report).await;
}

/// Another migration goes on, whose limits happen to be like those of a hold: it is left alone.
async fn under_way(lab: &Lab) {
    let fixture = Fixture::new(lab, Setting::default()).await;
    let limits = json!({ "max-bandwidth": 1_000_001, "downtime-limit": 1 });
    fixture.source.set_parameters(limits).await;
    let uri = format!("unix:{}", lab.folder().join("migration").display());
    fixture.destination.execute("migrate-incoming", json!({ "uri": uri })).await;
    fixture.source.execute("migrate", json!({ "uri": uri })).await;
    let status = async || {
        let migration = fixture.source.execute("query-migrate", json!({})).await;
        migration["status"].clone()
    };
    wait_for("it goes on", async || status().await == "active").await;
    let before = settings(&fixture).await;
    let (_canceller, cancel) = cancellation();
    let mut warnings = Vec::new();
    let mut observe = |update: &Update| {
        if let Update::Warning { text } = update {
            warnings.push(text.clone());
        }
    };
    let error = refused(&fixture, "127.0.0.1:1".to_owned(), cancel, &mut observe).await;
    assert!(matches!(error, MigrateError::UnderWay { .. }), "{error} {warnings:?}");
    assert_eq!(settings(&fixture).await, before);
    assert_eq!(status().await, "active");
}

/// Limits that a user may well have.
const ODD: (u64, u64) = (81_921, 1);

async fn limits_now(fixture: &Fixture<'_>) -> (u64, u64) {
    let now = fixture.source.execute("query-migrate-parameters", json!({})).await;
    (now["max-bandwidth"].as_u64().unwrap(), now["downtime-limit"].as_u64().unwrap())
}

/// A migration that is cancelled once pages are skipped; gives what it has warned of.
async fn cancelled(fixture: &Fixture<'_>) -> Vec<String> {
    let (address, _receiver) = fixture.receiver().await;
    let (canceller, cancel) = cancellation();
    let mut cancel_at_once = |update: &Update| {
        if matches!(update, Update::Snapshot(snapshot) if snapshot.skipped_pages > 0) {
            canceller.cancel("enough");
        }
    };
    let report = fixture.migrate_to(address, cancel, &mut cancel_at_once).await.unwrap();
    report.warnings.iter().map(ToString::to_string).collect()
}

/// Numbers that look like those of a throttled migration are the user's own all the same.
async fn odd_numbers(lab: &Lab) {
    let fixture =
        Fixture::new(lab, Setting { bandwidth: Some(8 << 20), ..Setting::default() }).await;
    let set = json!({ "max-bandwidth": ODD.0, "downtime-limit": ODD.1 });
    fixture.source.set_parameters(set).await;
    let warnings = cancelled(&fixture).await;
    assert_eq!(limits_now(&fixture).await, ODD, "{warnings:#?}");
    assert!(!warnings.iter().any(|warning| warning.contains("was killed")), "{warnings:#?}");
}

/// A driver was killed in the middle of a throttle: the next migration knows the user's limits, whatever they were.
async fn left_behind(lab: &Lab) {
    let mut fixture =
        Fixture::new(lab, Setting { bandwidth: Some(8 << 20), ..Setting::default() }).await;
    let set = json!({ "max-bandwidth": 7_000_001, "downtime-limit": 222 });
    fixture.source.set_parameters(set).await;
    let (address, receiver) = fixture.receiver().await;
    let relay = Relay::start(address.clone()).await;
    let mut driver = Driver::start(&fixture.options(address), &relay.address);
    is_held(&fixture).await;
    assert_eq!(limits_now(&fixture).await.1, 1, "the limits are not those of a throttle");
    driver.kill();
    receiver.abort();
    fixture.new_destination().await;
    let warnings = cancelled(&fixture).await;
    assert_eq!(limits_now(&fixture).await, (7_000_001, 222), "{warnings:#?}");
    assert!(warnings.iter().any(|warning| warning.contains("was killed")), "{warnings:#?}");
    fixture.new_destination().await;
    let report = fixture.migrate().await;
    fixture.assert_identical(&report).await;
    assert_eq!(report.pages.installed, PAGES);
}
