//! Storage that fails: every page is answered, in bounded time, and none wrongly.

use std::fs::OpenOptions;
use std::time::{Duration, Instant};

use qemu_glue::channel::{NotInstalled, SetRange};
use qemu_glue::dest::{Fate, Limits};
use rustix::process::Signal;

use crate::nbd::Server;
use crate::rig::{PAGES, Rig, file, page};

const READ_FAILED: Fate = Fate::NotInstalled(NotInstalled::ReadFailed);
const TOO_LATE: Fate = Fate::NotInstalled(NotInstalled::TooLate);

fn impatient() -> Limits {
    Limits { patience: Duration::from_secs(1), ..Limits::default() }
}

/// What a page has in RAM agrees with what was answered.
fn assert_agrees(rig: &Rig, fates: &std::collections::BTreeMap<u32, Fate>) {
    for (number, fate) in fates {
        let expected = if *fate == Fate::Installed { page(*number) } else { [0; 4096] };
        assert_eq!(rig.ram_page(*number), expected, "page {number} is {fate:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_too_short_gives_back_what_it_lacks() {
    let rig = Rig::new();
    let half = PAGES / 2;
    let end = rig.places(half).1 + 2048;
    OpenOptions::new().write(true).open(rig.disk()).unwrap().set_len(end).unwrap();
    let mut running = rig.restore(&file(&rig.disk()), Limits::default()).await;
    running.hash(0..PAGES);
    running.until(PAGES as usize).await;
    assert_eq!(running.count(Fate::Installed), half as usize);
    assert_eq!(running.count(READ_FAILED), (PAGES - half) as usize);
    assert!(running.fates.iter().all(|(number, fate)| (*fate == READ_FAILED) == (*number >= half)));
    assert_agrees(&rig, &running.fates);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_of_zeros_gives_everything_back() {
    let rig = Rig::new();
    let length = rig.disk().metadata().unwrap().len();
    let disk = OpenOptions::new().write(true).truncate(true).open(rig.disk()).unwrap();
    disk.set_len(length).unwrap();
    let mut running = rig.restore(&file(&rig.disk()), Limits::default()).await;
    running.hash(0..PAGES);
    running.until(PAGES as usize).await;
    assert_eq!(running.count(Fate::NotInstalled(NotInstalled::Differs)), PAGES as usize);
    assert_agrees(&rig, &running.fates);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_gives_back_what_it_had_not_sent() {
    let rig = Rig::new();
    let test = "a_server_that_dies_gives_back_what_it_had_not_sent";
    let Some(server) = Server::start(test, &rig.disk(), 8) else { return };
    let mut running = rig.restore(&server.address("data"), impatient()).await;
    running.hash(0..512);
    running.until(512).await;
    drop(server);
    let begun = Instant::now();
    running.hash(512..PAGES);
    running.until(PAGES as usize).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(running.count(Fate::Installed), 512);
    assert_eq!(running.count(READ_FAILED), (PAGES - 512) as usize);
    assert_agrees(&rig, &running.fates);
}

/// One sector that cannot be read costs the pages of its request, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_sector_that_cannot_be_read() {
    let rig = Rig::new();
    let test = "a_sector_that_cannot_be_read";
    let (bad, disk) = (1500, rig.disk());
    let mut image = "driver=raw,file.driver=blkdebug,file.image.driver=file".to_owned();
    image += &format!(",file.image.filename={}", disk.display());
    image += ",file.inject-error.0.event=none,file.inject-error.0.iotype=read";
    image += &format!(",file.inject-error.0.sector={}", rig.places(bad).1 / 512 + 3);
    let Some(server) = Server::of_image(test, &disk, 8, &[&image]) else { return };
    let limits = impatient();
    let mut running = rig.restore(&server.address("data"), limits).await;
    running.hash(0..PAGES);
    running.until(PAGES as usize).await;
    assert_eq!(running.fates[&bad], READ_FAILED);
    let failed = running.count(READ_FAILED);
    let of_request = usize::try_from(limits.requests.request_bytes / 4096).unwrap();
    assert!(failed <= of_request, "{failed} pages");
    assert_eq!(running.count(Fate::Installed), PAGES as usize - failed);
    assert_agrees(&rig, &running.fates);
}

/// Storage that is slow, and answers all the time, is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn storage_that_is_slow_is_no_storage_that_stalls() {
    let rig = Rig::new();
    let test = "storage_that_is_slow_is_no_storage_that_stalls";
    let disk = rig.disk();
    let throttle = "throttle-group,id=slow,x-bps-total=4194304";
    let image = format!(
        "driver=throttle,throttle-group=slow,file.driver=raw,file.file.driver=file,\
         file.file.filename={}",
        disk.display()
    );
    let image = [image.as_str(), "--object", throttle];
    let Some(server) = Server::of_image(test, &disk, 8, &image) else { return };
    let patience = Duration::from_secs(1);
    let mut running =
        rig.restore(&server.address("data"), Limits { patience, ..Limits::default() }).await;
    let begun = Instant::now();
    running.hash(0..PAGES);
    running.until(PAGES as usize).await;
    assert!(begun.elapsed() > 2 * patience, "the last request waits longer than the patience");
    assert_eq!(running.count(Fate::Installed), PAGES as usize);
    assert_agrees(&rig, &running.fates);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_is_used_again() {
    let rig = Rig::new();
    let test = "a_server_that_comes_back_is_used_again";
    let Some(server) = Server::start(test, &rig.disk(), 8) else { return };
    let mut running = rig.restore(&server.address("data"), impatient()).await;
    running.hash(0..256);
    running.until(256).await;
    drop(server);
    running.hash(256..512);
    running.until(512).await;
    assert_eq!((running.count(Fate::Installed), running.count(READ_FAILED)), (256, 256));
    let _again = Server::start(test, &rig.disk(), 8);
    // Longer than the server is left alone after it was lost.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    running.hash(512..PAGES);
    running.until(PAGES as usize).await;
    assert_eq!(running.count(Fate::Installed), PAGES as usize - 256);
    assert_agrees(&rig, &running.fates);
}

/// A server that stops answering costs its patience once, and is used again when it answers again.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stalls_gives_back_in_time_and_is_used_again() {
    let rig = Rig::new();
    let test = "a_server_that_stalls_gives_back_in_time_and_is_used_again";
    let Some(server) = Server::start(test, &rig.disk(), 8) else { return };
    let limits = impatient();
    let mut running = rig.restore(&server.address("data"), limits).await;
    running.hash(0..256);
    running.until(256).await;
    server.signal(Signal::STOP);
    let begun = Instant::now();
    running.hash(256..1024);
    running.until(1024).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(running.count(TOO_LATE), 768);
    // Once it is known to stall, nothing waits for it.
    let begun = Instant::now();
    running.hash(1024..1280);
    running.until(1280).await;
    assert!(begun.elapsed() < limits.patience * 9 / 10, "{:?}", begun.elapsed());
    server.signal(Signal::CONT);
    // It answers what it was asked, and is asked again.
    let mut first = 1280;
    while running.count(Fate::Installed) == 256 {
        assert!(first < PAGES, "a server that answers again is used again");
        tokio::time::sleep(Duration::from_millis(100)).await;
        running.hash(first..first + 32);
        first += 32;
        running.until(first as usize).await;
    }
    // What came too late was not installed.
    assert_agrees(&rig, &running.fates);
}

/// Where the source takes pages from the back, those that were not asked for wait for the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_shared_waits_for_a_server_that_stalls() {
    let rig = Rig::new();
    let test = "a_queue_that_is_shared_waits_for_a_server_that_stalls";
    let Some(server) = Server::start(test, &rig.disk(), 8) else { return };
    let limits = Limits { buffers: 2, ..impatient() }.shared();
    let mut running = rig.restore(&server.address("data"), limits).await;
    server.signal(Signal::STOP);
    running.hash(0..PAGES);
    tokio::time::sleep(3 * limits.patience).await;
    let last = PAGES - 256;
    running.restore.leave(&[SetRange { first: last, count: 256 }]);
    server.signal(Signal::CONT);
    running.until(last as usize).await;
    // Two requests were on their way, of 256 pages at most.
    let late = running.count(TOO_LATE);
    assert!((1..=512).contains(&late), "{late}");
    assert_eq!(running.count(Fate::Installed), last as usize - late);
    assert_agrees(&rig, &running.fates);
}

/// With fewer buffers than a stalled server holds, the rest is re-dirtied too.
#[tokio::test(flavor = "multi_thread")]
async fn a_stall_that_holds_all_buffers_ends_too() {
    let rig = Rig::new();
    let test = "a_stall_that_holds_all_buffers_ends_too";
    let Some(server) = Server::start(test, &rig.disk(), 8) else { return };
    let limits = Limits { buffers: 2, ..impatient() };
    let mut running = rig.restore(&server.address("data"), limits).await;
    server.signal(Signal::STOP);
    let begun = Instant::now();
    running.hash(0..PAGES);
    running.until(PAGES as usize).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(running.count(TOO_LATE), PAGES as usize);
    running.restore.stop().await;
    assert_agrees(&rig, &running.fates);
}

/// A restore that is stopped halfway installs nothing afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_installed_after_the_stop() {
    let rig = Rig::new();
    let running = rig.restore(&file(&rig.disk()), Limits::default()).await;
    running.hash(0..PAGES);
    tokio::time::sleep(Duration::from_millis(2)).await;
    running.restore.stop().await;
    let present = || (0..PAGES).filter(|number| rig.ram_page(*number) == page(*number)).count();
    // Reading makes holes present too, so only the bytes show it.
    let then = present();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(present(), then);
}
