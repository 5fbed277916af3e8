//! The user's limits of the migration.

use serde_json::json;

use crate::guest::PAGES;
use crate::lab::{Lab, on_each_qemu};
use crate::scene::{Scene, Setting};

on_each_qemu!(put_back, left_behind);

/// After a migration that did not take place, QEMU has the limits that it had.
async fn put_back(lab: &Lab) {
    let mut scene =
        Scene::new(lab, Setting { bandwidth: Some(8 << 20), ..Setting::default() }).await;
    let set = json!({ "max-bandwidth": 7_000_000, "downtime-limit": 222 });
    scene.source.set_parameters(set).await;
    // QEMU at the destination is gone when the source connects to it.
    let (address, _receiver) = scene.receiver().await;
    let (canceller, cancel) = qemu_glue::source::cancellation();
    let mut cancel_at_once = |update: &qemu_glue::source::Update| {
        if matches!(update, qemu_glue::source::Update::Picture(picture) if picture.skipped_pages > 0)
        {
            canceller.cancel("enough");
        }
    };
    scene.migrate_to(address, cancel, &mut cancel_at_once).await.unwrap();
    let now = scene.source.execute("query-migrate-parameters", json!({})).await;
    assert_eq!((&now["max-bandwidth"], &now["downtime-limit"]), (&json!(7_000_000), &json!(222)));
    let on = scene.source.execute("query-migrate-capabilities", json!({})).await;
    let events = on.as_array().unwrap().iter().find(|c| c["capability"] == "events").unwrap();
    assert_eq!(events["state"], false);
    scene.new_destination().await;
    let report = scene.migrate().await;
    scene.assert_identical(&report).await;
}

/// A driver was killed in the middle of a hold: the next migration is not held to a trickle.
async fn left_behind(lab: &Lab) {
    let scene = Scene::new(lab, Setting::default()).await;
    let set = json!({ "max-bandwidth": 81_921, "downtime-limit": 1 });
    scene.source.set_parameters(set).await;
    let report = scene.migrate().await;
    scene.assert_identical(&report).await;
    assert_eq!(report.pages.restored, PAGES);
    assert!(report.remarks.iter().any(|remark| remark.contains("was killed")));
}
