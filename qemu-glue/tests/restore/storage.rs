//! A disk that is right, mostly.

use qemu_glue::channel::{NotInstalled, SetRange};
use qemu_glue::dest::{Fate, Limits, QueueError};

use crate::rig::{PAGES, Rig, file, page};

/// All pages are installed with their own bytes, wherever they lie; QEMU's newer ones stay; what differs is
/// refused and left out.
#[tokio::test(flavor = "multi_thread")]
async fn pages_are_verified_and_installed() {
    let rig = Rig::new();
    let (stale, delivered) = ([3, 700, 701, PAGES - 1], [0, 5, 6, 1000]);
    stale.iter().for_each(|number| rig.spoil(*number));
    delivered.iter().for_each(|number| rig.deliver(*number, 0xee));
    let mut running = rig.restore(&file(&rig.disk()), Limits::default()).await;
    running.hash(0..PAGES);
    running.until(PAGES as usize).await;
    let progress = running.restore.progress();
    assert_eq!(progress.installed, u64::from(PAGES) - 8);
    assert_eq!((progress.already_present, progress.not_installed, progress.queued), (4, 4, 0));
    let differs = Fate::NotInstalled(NotInstalled::Differs);
    assert_eq!(running.count(differs), 4);
    for number in 0..PAGES {
        let (fate, bytes) = (running.fates[&number], rig.ram_page(number));
        if stale.contains(&number) {
            assert_eq!((fate, bytes), (differs, [0; 4096]), "page {number}");
        } else if delivered.contains(&number) {
            assert_eq!((fate, bytes), (Fate::Installed, [0xee; 4096]), "page {number}");
        } else {
            assert_eq!((fate, bytes), (Fate::Installed, page(number)), "page {number}");
        }
    }
    running.restore.stop().await;
    rig.assert_nothing_else_present();
}

/// Batches in any order, as several threads at the source make them.
#[tokio::test(flavor = "multi_thread")]
async fn hashes_may_come_in_any_order() {
    let rig = Rig::new();
    let mut running = rig.restore(&file(&rig.disk()), Limits::default()).await;
    running.hash(1024..PAGES);
    running.hash(0..300);
    running.hash(300..1024);
    running.until(PAGES as usize).await;
    assert_eq!(running.count(Fate::Installed), PAGES as usize);
    assert!((0..PAGES).all(|number| rig.ram_page(number) == page(number)));
}

/// Pages that the source takes back are not read; a second hash of a page, or one of no page, is refused.
#[tokio::test(flavor = "multi_thread")]
async fn pages_taken_are_left_and_hashes_that_lie_are_refused() {
    let rig = Rig::new();
    let mut running = rig.restore(&file(&rig.disk()), Limits::default()).await;
    running.restore.leave(&[SetRange { first: 100, count: 100 }]);
    running.hash(0..PAGES);
    running.until(PAGES as usize - 100).await;
    assert!((100..200).all(|number| rig.ram_page(number) == [0; 4096]));
    let hash = [crate::rig::hash(7)];
    assert!(matches!(running.restore.hashes(7, &hash), Err(QueueError::Twice(_))));
    assert!(matches!(running.restore.hashes(PAGES, &hash), Err(QueueError::Beyond { .. })));
    running.restore.stop().await;
    assert!(running.answers.recv().await.is_none(), "nothing more is answered");
}

/// With one hash wrong, that page and no other is refused: the comparison has teeth.
#[tokio::test(flavor = "multi_thread")]
async fn a_hash_of_other_bytes_places_nothing() {
    let rig = Rig::new();
    let mut running = rig.restore(&file(&rig.disk()), Limits::default()).await;
    running.hash(0..9);
    running.restore.hashes(9, &[crate::rig::hash(10)]).unwrap();
    running.hash(10..20);
    running.until(20).await;
    assert_eq!(running.fates[&9], Fate::NotInstalled(NotInstalled::Differs));
    assert_eq!(running.count(Fate::Installed), 19);
    assert_eq!(rig.ram_page(9), [0; 4096]);
}
