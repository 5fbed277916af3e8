//! Migrations between two VMs, and what QEMU says of them.

use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::guest::MEMORY;
use crate::lab::{Lab, wait_for};
use crate::vm::Vm;

/// Begins a migration; both sides are there.
pub(crate) async fn begin(lab: &Lab, source: &Vm, destination: &Vm) {
    let socket = lab.folder().join("migration");
    let _ = std::fs::remove_file(&socket);
    let uri = json!({ "uri": format!("unix:{}", socket.display()) });
    destination.execute("migrate-incoming", uri.clone()).await;
    source.execute("migrate", uri).await;
}

/// `query-migrate` of the source.
pub(crate) async fn query(source: &Vm) -> Value {
    source.execute("query-migrate", json!({})).await
}

/// Waits until the source says `status`, and gives all that it says.
pub(crate) async fn reaches(source: &Vm, status: &str) -> Value {
    wait_for(&format!("the migration is {status}"), async || {
        let now = query(source).await["status"].clone();
        let ended = ["completed", "failed", "cancelled"].iter().any(|end| now == *end);
        assert!(!ended || now == status, "the migration is {now}");
        now == status
    })
    .await;
    query(source).await
}

/// Waits for the end and for the destination, and gives the number of pages that QEMU has sent.
pub(crate) async fn completes(source: &Vm, destination: &Vm) -> u64 {
    let end = reaches(source, "completed").await;
    wait_for("the destination has all", async || {
        let status = destination.execute("query-status", json!({})).await["status"].clone();
        status != "inmigrate"
    })
    .await;
    sent(&end)
}

/// A whole stock migration to a new destination; the number of pages that QEMU has sent.
pub(crate) async fn stock(lab: &Lab, source: &Vm) -> u64 {
    let destination = Vm::destination(lab).await;
    begin(lab, source, &destination).await;
    let pages = completes(source, &destination).await;
    assert_eq!(differing_bytes(source, &destination), 0, "a stock migration");
    resume(source).await;
    pages
}

/// Lets a source run on whose VM runs nowhere else, as both are paused after a migration in the tests.
pub(crate) async fn resume(source: &Vm) {
    source.execute("cont", json!({})).await;
    assert!(source.runs().await);
}

/// Pages that QEMU has sent, zero pages included.
pub(crate) fn sent(query: &Value) -> u64 {
    let count = |name: &str| query["ram"][name].as_u64().unwrap();
    count("normal") + count("duplicate")
}

/// RAM identity: both VMs stand still, and their whole memory is compared, but for [`Vm::excused`].
pub(crate) fn differing_bytes(source: &Vm, destination: &Vm) -> u64 {
    const CHUNK: usize = 1 << 20;
    let (mut here, mut there) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut differing = 0;
    for offset in (0..MEMORY).step_by(CHUNK) {
        source.memory.read_exact_at(&mut here, offset).unwrap();
        destination.memory.read_exact_at(&mut there, offset).unwrap();
        if here != there {
            let counts = |(at, (a, b)): &(u64, (&u8, &u8))| a != b && !source.excused.contains(at);
            differing += (offset..).zip(here.iter().zip(&there)).filter(counts).count() as u64;
        }
    }
    differing
}

/// Lets some time pass in which something would happen that must not.
pub(crate) async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}
