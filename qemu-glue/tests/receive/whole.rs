//! Migrations that are served.

use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use foreign::Name;
use qemu_glue::channel::{Key, Message, NotInstalled, Security};
use qemu_glue::dest::ReceiveError;
use qemu_glue::qmp::Qmp;
use serde_json::{Value, json};

use crate::qemu::{Place, Vm, page, releases};
use crate::source::{Source, offer, options};

/// Pages of the disk in QEMU's RAM, a page of which QEMU has delivered and one of which differs; then a
/// stock migration to where QEMU listens, which brings everything else.
#[tokio::test(flavor = "multi_thread")]
async fn pages_lie_in_the_ram_of_a_qemu_that_then_takes_a_migration() {
    for qemu in releases("pages_lie_in_the_ram_of_a_qemu_that_then_takes_a_migration") {
        let place = Place::new();
        let key = place.path("key");
        Key::make(&key).unwrap();
        let destination = Vm::destination(&qemu, &place, None, &[]);
        let memory = destination.memory().await;
        let mut options = options(&destination.socket);
        options.security = Security::Key(Key::read(&key).unwrap());
        let mut source = Source::connect(options).await;
        // 300 pages from 8 MiB on, 10 more far away on both.
        let answer = source.offer(offer(&[(2048, 0, 300), (9000, 500, 10)])).await;
        let Message::Ready(ready) = answer else { panic!("{answer:?}") };
        assert!(ready.devices_left_out.is_empty(), "{ready:?}");
        memory.write_all_at(&[5; 4096], (2048 + 17) * 4096).unwrap();
        source.hashes(0, 0..300).await;
        // What follows is one page further on the disk: all but none are right.
        source.hashes(300, 501..511).await;
        let (installed, not) = source.answers(310).await;
        assert_eq!(installed.len(), 300, "{}", qemu.release());
        assert!(not.iter().all(|(number, why)| *number >= 300 && *why == NotInstalled::Differs));
        let mut bytes = [0; 4096];
        for number in (0..300).filter(|number| *number != 17) {
            memory.read_exact_at(&mut bytes, (2048 + number) * 4096).unwrap();
            assert_eq!(bytes, page(number), "page {number}");
        }
        memory.read_exact_at(&mut bytes, (2048 + 17) * 4096).unwrap();
        assert_eq!(bytes, [5; 4096], "what had arrived is kept");

        let vm = Vm::source(&qemu, &place);
        let qmp = vm.qmp().await;
        qmp.execute("migrate", json!({ "uri": ready.uri })).await.unwrap();
        assert_eq!(ended(&qmp).await, "completed");
        let (finished, outcome) = source.finish().await;
        assert_eq!((finished.progress.installed, finished.progress.already_present), (299, 1));
        assert_eq!(finished.progress.not_installed, 10);
        assert!(finished.peak_memory_bytes > 0 && finished.cpu_s > 0.0);
        assert_eq!((outcome.finish.status.raw(), outcome.refused), ("completed", None));
        // The source is done a moment before the destination runs.
        let (qmp, begun) = (destination.qmp().await, Instant::now());
        while qmp.query::<Value>("query-status").await.unwrap()["status"] != "running" {
            assert!(begun.elapsed() < Duration::from_secs(60), "{} does not run", qemu.release());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Waits for the end of a migration and gives its status.
pub(crate) async fn ended(qmp: &Qmp) -> String {
    let begun = Instant::now();
    loop {
        let info: Value = qmp.query("query-migrate").await.unwrap();
        let status = info["status"].as_str().unwrap_or_default().to_owned();
        if ["completed", "failed", "cancelled"].contains(&status.as_str()) {
            return status;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{info}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An empty offer asks for the address only.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_offer_is_a_stock_migration() {
    let test = "an_empty_offer_is_a_stock_migration";
    let Some(qemu) = crate::qemu::newest(test) else { return };
    let place = Place::new();
    let destination = Vm::destination(&qemu, &place, None, &[]);
    let mut source = Source::connect(options(&destination.socket)).await;
    let (mut empty, _) = offer(&[]);
    empty.blocks.clear();
    empty.devices.clear();
    source.send(Message::Offer(empty)).await;
    source.send(Message::OfferEnd).await;
    let Message::Ready(ready) = source.receive().await else { panic!("not ready") };
    let vm = Vm::source(&qemu, &place);
    let qmp = vm.qmp().await;
    qmp.execute("migrate", json!({ "uri": ready.uri })).await.unwrap();
    assert_eq!(ended(&qmp).await, "completed");
    let (finished, _) = source.finish().await;
    assert_eq!(finished.progress.installed, 0);
}

/// A disk that the operator names is read in place of QEMU's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_by_the_operators_word() {
    let Some(qemu) = crate::qemu::newest("a_disk_by_the_operators_word") else { return };
    let place = Place::new();
    let destination = Vm::destination(&qemu, &place, None, &[]);
    let copy = place.path("copy.raw");
    std::fs::copy(place.path("disk.raw"), &copy).unwrap();
    let mut options = options(&destination.socket);
    options.disks =
        vec![("serial:elsewhere".into(), format!("file:{}", copy.display()).parse().unwrap())];
    let mut source = Source::connect(options).await;
    let (mut two, mut runs) = offer(&[(3000, 10, 4), (4000, 20, 4), (5000, 30, 4)]);
    let names = ["serial:data", "serial:elsewhere", "serial:nowhere"];
    two.devices = names.map(|name| Name::try_from(name).unwrap()).into();
    (0..).zip(&mut runs).for_each(|(index, run)| run.device = index);
    let answer = source.offer((two, runs)).await;
    let Message::Ready(ready) = answer else { panic!("{answer:?}") };
    assert_eq!(ready.devices_left_out.len(), 1);
    assert_eq!(ready.devices_left_out[0].0, 2, "{ready:?}");
    for (first, disk) in [(0, 10), (4, 20), (8, 30)] {
        source.hashes(first, disk..disk + 4).await;
    }
    let (installed, not) = source.answers(12).await;
    assert_eq!(installed.len(), 8);
    assert!(not.iter().all(|(number, why)| *number >= 8 && *why == NotInstalled::ReadFailed));
    source.finish().await;
}

/// RAM that QEMU has filled at its start is made holes, and pages are installed there.
#[tokio::test(flavor = "multi_thread")]
async fn ram_that_was_filled_at_the_start_is_emptied() {
    let test = "ram_that_was_filled_at_the_start_is_emptied";
    for qemu in releases(test) {
        let place = Place::new();
        let memory = "memory-backend-memfd,id=mem0,size=64M,share=on,prealloc=on";
        let destination = Vm::destination(&qemu, &place, Some(memory), &[]);
        let mut source = Source::connect(options(&destination.socket)).await;
        let answer = source.offer(offer(&[(2048, 0, 64)])).await;
        assert!(matches!(answer, Message::Ready(_)), "{}: {answer:?}", qemu.release());
        source.hashes(0, 0..64).await;
        let (installed, _) = source.answers(64).await;
        assert_eq!(installed.len(), 64);
        let (finished, _) = source.finish().await;
        assert_eq!(finished.progress.installed, 64, "installed, not taken for delivered");
    }
}

/// A source that vanishes, and one that lies, end the service with an error that says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_vanishes_or_lies_is_left() {
    let test = "a_source_that_vanishes_or_lies_is_left";
    let Some(qemu) = crate::qemu::newest(test) else { return };
    for lie in [None, Some(u32::MAX - 1), Some(0)] {
        let place = Place::new();
        let destination = Vm::destination(&qemu, &place, None, &[]);
        let mut source = Source::connect(options(&destination.socket)).await;
        let answer = source.offer(offer(&[(2048, 0, 64)])).await;
        assert!(matches!(answer, Message::Ready(_)), "{answer:?}");
        source.hashes(0, 0..16).await;
        source.answers(16).await;
        if let Some(first) = lie {
            // Beyond the set, or a second time.
            source.hashes(first, 0..1).await;
            while source.receiver.receive().await.is_ok() {}
        }
        let error = source.vanish().await.unwrap_err();
        match lie {
            None => assert!(matches!(error, ReceiveError::Channel(_)), "{error}"),
            Some(_) => assert!(matches!(error, ReceiveError::Hashes(_)), "{error}"),
        }
    }
}
