//! The switchover.

use qemu_glue::shim::{SetState, Shim};
use serde_json::{Value, json};

use crate::lab::{Lab, on_each_qemu};
use crate::migration::{begin, completes, differing_bytes, pause, query, stock};
use crate::sets::{all, hinted, restore, scattered};
use crate::vm::{Options, Vm};

/// A limit that is not 0, and a first pass that lasts longer than the 100 ms after which QEMU measures the
/// bandwidth for the first time: before, what it may send with the VM stopped is 0 too.
const THROTTLED: fn() -> Value = || json!({"downtime-limit": 1, "max-bandwidth": 32 << 20});

/// An idle VM has nothing to send, and QEMU does not switch over until it is let.
async fn a_throttled_migration_ends_when_it_is_released(lab: &Lab) {
    let source = Vm::source(lab, Options::default()).await;
    let expected = stock(lab, &source).await;
    let destination = Vm::destination(lab).await;
    let set = scattered();
    restore(&set, &source, &destination);
    let armed = Shim::open(source.pid).unwrap().arm(&set).unwrap();
    armed.set_throttle(true);
    source.set_parameters(THROTTLED()).await;
    begin(lab, &source, &destination).await;
    hinted(&armed).await;
    armed.confirm(all(&set));
    pause(1000).await;
    source.set_parameters(json!({"max-bandwidth": 1 << 20})).await;
    pause(1000).await;
    let before = armed.status().syncs;
    pause(2000).await;
    assert_eq!(query(&source).await["status"], "active");
    assert!(source.runs().await);
    let status = armed.status();
    assert!(status.throttled > 0 && status.state == SetState::Hinted, "{status:?}");
    let syncs = status.syncs - before;
    assert!((1..=60).contains(&syncs), "{syncs} syncs in 2 s at 1 MiB/s");
    armed.set_throttle(false);
    source.set_parameters(json!({"downtime-limit": 300, "max-bandwidth": 1 << 30})).await;
    let sent = completes(&source, &destination).await;
    assert!(sent >= expected - u64::from(set.pages()));
    assert_eq!(differing_bytes(&source, &destination), 0);
}

/// Who throttles is gone: the migration ends by itself, and is right.
async fn a_throttle_ends_with_its_host(lab: &Lab) {
    let source = Vm::source(lab, Options::default()).await;
    let destination = Vm::destination(lab).await;
    let armed = Shim::open(source.pid).unwrap().arm(&scattered()).unwrap();
    armed.set_throttle(true);
    source.set_parameters(THROTTLED()).await;
    begin(lab, &source, &destination).await;
    hinted(&armed).await;
    pause(1000).await;
    assert_eq!(query(&source).await["status"], "active");
    drop(armed);
    source.set_parameters(json!({"downtime-limit": 300})).await;
    completes(&source, &destination).await;
    assert_eq!(differing_bytes(&source, &destination), 0);
}

on_each_qemu! { a_throttled_migration_ends_when_it_is_released, a_throttle_ends_with_its_host }
