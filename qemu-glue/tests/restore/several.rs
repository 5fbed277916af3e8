//! Several disks: what one of them does is nothing to the others.

use std::time::{Duration, Instant};

use qemu_glue::channel::NotInstalled;
use qemu_glue::dest::{Fate, Limits};
use qemu_glue::storage::RequestLimits;
use rustix::process::Signal;

use crate::nbd::Server;
use crate::rig::{PAGES, Rig, file, page};

/// The first page of the second disk; not that of a batch of hashes.
const SECOND: u32 = PAGES / 2 + 7;
/// For a second disk that answers, and ten times what this machine takes for both; storage that stalls is waited for 120 s.
const SOON: Duration = Duration::from_secs(3);

/// Fewer buffers than either disk has requests, as with a large set.
fn few_buffers() -> Limits {
    let requests = RequestLimits { request_bytes: 128 << 10, gap_bytes: 64 << 10 };
    Limits { requests, buffers: 8, patience: Duration::from_secs(1), ..Limits::default() }.shared()
}

/// How long this machine takes where both disks answer.
async fn time_of_both() -> Duration {
    let rig = Rig::split(SECOND);
    let disk = file(&rig.disk());
    let mut running = rig.restore_of(&[&disk, &disk], few_buffers()).await;
    let begun = Instant::now();
    running.hash(0..PAGES);
    running.until(PAGES as usize).await;
    begun.elapsed()
}

/// Pages of the first disk are given up or wait, those of the second are all installed.
async fn assert_second_goes_on(test: &str, hashed_before: u32) {
    let alone = time_of_both().await;
    let rig = Rig::split(SECOND);
    let Some(server) = Server::start(test, &rig.disk(), 8) else { return };
    let (first, second) = (server.address("data"), file(&rig.disk()));
    let mut running = rig.restore_of(&[&first, &second], few_buffers()).await;
    server.signal(Signal::STOP);
    running.hash(0..hashed_before);
    running.until(hashed_before as usize).await;
    running.hash(hashed_before..PAGES);
    running.until_all(SECOND..PAGES, SOON + 10 * alone).await;
    assert_eq!(running.count(Fate::Installed), (PAGES - SECOND) as usize);
    assert!((SECOND..PAGES).all(|number| rig.ram_page(number) == page(number)));
    // What waits for the first disk is not lost.
    server.signal(Signal::CONT);
    running.until(PAGES as usize).await;
    let late = running.count(Fate::NotInstalled(NotInstalled::TooLate));
    assert_eq!(running.count(Fate::Installed), PAGES as usize - late);
    assert!(late < SECOND as usize / 2, "{late} pages were asked for before it was known to stall");
}

/// Known to stall before there is anything to read from the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_waited_for_keeps_nobody_waiting() {
    assert_second_goes_on("a_disk_that_is_waited_for_keeps_nobody_waiting", 16).await;
}

/// Not known to stall yet: it gets buffers that do not come back.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_stalls_leaves_buffers_to_others() {
    assert_second_goes_on("a_disk_that_stalls_leaves_buffers_to_others", 0).await;
}
