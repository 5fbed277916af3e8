//! Why hashes are taken after the hint (invariant I2), shown by a source that takes them before.
//!
//! A page that the guest writes between the hash and the first bitmap sync is hinted away all the same,
//! and its old bytes on the disk still have its old hash. The comparison of both memories must find it.

use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use page_wire::{Bounds, List};
use qemu_glue::channel::{
    self, Finish, Message, Offer, PeerHello, Receiver, Security, Sender, VERSION,
};
use qemu_glue::guest::{GuestRam, disks};
use qemu_glue::qmp::Qmp;
use qemu_glue::set::SkipSet;
use qemu_glue::shim::{Armed, SetState, Shim};
use qemu_glue::source::hash::{self, HashWindows, Hashed};
use qemu_glue::source::plan;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::agent;
use crate::fixture::{Fixture, SERIAL, Setting, honest};
use crate::guest::{FIRST_PAGE, PAGES};
use crate::lab::{Lab, on_each_qemu, wait_for};

on_each_qemu!(hashes_before_the_hint, hashes_after_the_hint);

/// A page of the set that is written when the wrong source has hashed and not hinted yet.
const WRITTEN: u64 = FIRST_PAGE + PAGES / 2;

async fn hashes_before_the_hint(lab: &Lab) {
    let fixture = Fixture::new(lab, Setting::default()).await;
    by_hand(&fixture, When::Early).await;
    assert_eq!(fixture.differing_pages(), [WRITTEN], "it was not found");
}

/// The same by the same hand, in the right order: what the test above finds is the order alone.
async fn hashes_after_the_hint(lab: &Lab) {
    let fixture = Fixture::new(lab, Setting::default()).await;
    by_hand(&fixture, When::Right).await;
    assert_eq!(fixture.differing_pages(), Vec::<u64>::new());
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Early,
    Right,
}

/// Migrates with the parts of the product, put together by hand.
async fn by_hand(fixture: &Fixture<'_>, when: When) {
    let qmp = Qmp::connect(&fixture.options(String::new()).qmp).await.unwrap();
    let pid = qmp.peer_pid().unwrap();
    let shim = Shim::open(pid).unwrap();
    let ram = Arc::new(GuestRam::of(&qmp, pid).await.unwrap());
    let list = agent::list(SERIAL, honest());
    let of_vm = disks::of(&qmp).await.unwrap();
    let plan = plan::plan(&List::parse(&list, Bounds::ANY).unwrap(), &ram, &of_vm, &[]).unwrap();
    let set = Arc::new(plan.set);
    let early = match when {
        When::Early => hashes(&ram, &set).await,
        When::Right => Vec::new(),
    };
    fixture.source.memory.write_all_at(b"written after the hash", WRITTEN * 4096).unwrap();

    let (address, receiver) = fixture.receiver().await;
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, mut answers) = channel::connect(stream, &Security::Plain).await.unwrap();
    let uri = offer(&mut sender, &mut answers, &set).await;
    let armed = shim.arm(&set).unwrap();
    armed.set_throttle(true);
    // So slow that the first pass is not over before all is settled, which would end the throttle.
    let throttled = json!({ "downtime-limit": 1, "max-bandwidth": 81_921 });
    qmp.execute("migrate-set-parameters", throttled).await.unwrap();
    qmp.execute("migrate", json!({ "uri": uri })).await.unwrap();
    wait_for("the hint", async || armed.status().state == SetState::Hinted).await;
    let hashes = if when == When::Early { early } else { hashes(&ram, &set).await };
    for Hashed { first, hashes } in hashes {
        sender.send(&Message::Hashes { first: first.0, hashes }).await.unwrap();
    }
    settle(&armed, &mut answers).await;
    let free = json!({ "downtime-limit": 300, "max-bandwidth": 128 << 20 });
    qmp.execute("migrate-set-parameters", free).await.unwrap();
    armed.set_throttle(false);
    wait_for("the end", async || {
        let now = fixture.source.execute("query-migrate", json!({})).await;
        assert_ne!(now["status"], "failed", "{now}");
        now["status"] == "completed"
    })
    .await;
    let status = "completed".into();
    let finish = Finish { status, reason: None, begun_unix_s: 0.0 };
    sender.send(&Message::Finish(finish)).await.unwrap();
    receiver.await.unwrap().unwrap();
    sleep(Duration::from_millis(500)).await;
}

async fn hashes(ram: &Arc<GuestRam>, set: &Arc<SkipSet>) -> Vec<Hashed> {
    let windows = Arc::new(HashWindows::all(set.zero_pages()..set.pages()));
    let mut hashing = hash::start(ram, set, 1, &Arc::default(), &windows).unwrap();
    let mut hashes = Vec::new();
    while let Some(hashed) = hashing.recv().await {
        hashes.push(hashed);
    }
    hashes
}

/// Gives where the destination's QEMU listens.
async fn offer(sender: &mut Sender, answers: &mut Receiver, set: &SkipSet) -> String {
    let hello = PeerHello {
        version: VERSION,
        program: "test".into(),
        qemu: "0.0.0".into(),
        migration: "by hand".into(),
    };
    sender.send(&Message::Hello(hello)).await.unwrap();
    assert!(matches!(answers.receive().await.unwrap(), Message::Hello(_)));
    let offer = Offer {
        blocks: set.blocks().to_vec(),
        devices: set.devices().iter().map(|name| name.as_str().try_into().unwrap()).collect(),
        runs: set.runs().len() as u64,
        capabilities: Vec::new(),
        multifd: None,
        shares: false,
    };
    sender.send(&Message::Offer(offer)).await.unwrap();
    sender.send(&Message::Runs(set.runs().to_vec())).await.unwrap();
    sender.send(&Message::OfferEnd).await.unwrap();
    match answers.receive().await.unwrap() {
        Message::Ready(ready) => ready.uri.raw().to_owned(),
        other => panic!("{other:?}"),
    }
}

/// Hands on what the destination says until nothing is outstanding.
async fn settle(armed: &Armed, answers: &mut Receiver) {
    while armed.outstanding() > 0 {
        match answers.receive().await.unwrap() {
            Message::Installed(ranges) => ranges.into_iter().for_each(|range| armed.confirm(range)),
            Message::NotInstalled(_, ranges) => {
                ranges.into_iter().for_each(|range| armed.redirty(range));
            }
            Message::Progress(_) => {}
            other => panic!("{other:?}"),
        }
    }
}
