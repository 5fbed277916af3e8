//! Migrations that end early: the VM runs on, and its next migration works.

use qemu_glue::shim::{SetState, Shim};
use serde_json::json;

use crate::guest::Busy;
use crate::lab::{Lab, on_each_qemu};
use crate::migration::{begin, completes, differing_bytes, reaches};
use crate::sets::{hinted, scattered};
use crate::vm::{Options, Vm};

const BUSY: Busy = Busy { first_page: 5000, pages: 200 };

/// The destination dies in the first pass.
async fn a_dead_destination_costs_one_attempt(lab: &Lab) {
    let source = Vm::source(lab, Options { busy: BUSY, ..Options::default() }).await;
    let shim = Shim::open(source.pid).unwrap();
    let set = scattered();
    let armed = shim.arm(&set).unwrap();
    source.set_parameters(json!({"max-bandwidth": 1 << 20})).await;
    let mut destination = Vm::destination(lab).await;
    begin(lab, &source, &destination).await;
    hinted(&armed).await;
    destination.kill();
    reaches(&source, "failed").await;
    assert!(source.runs().await);
    assert_eq!(armed.status().state, SetState::Ended);
    drop(armed);
    again(lab, &source, &shim).await;
}

/// Nobody listens: there is no first pass.
async fn a_refused_connection_disarms(lab: &Lab) {
    let source = Vm::source(lab, Options::default()).await;
    let shim = Shim::open(source.pid).unwrap();
    let armed = shim.arm(&scattered()).unwrap();
    let uri = format!("unix:{}", lab.folder().join("nobody").display());
    // 9.2 and later say so at once, the others when asked.
    if source.qmp.execute("migrate", json!({ "uri": uri })).await.is_ok() {
        reaches(&source, "failed").await;
    }
    assert!(source.runs().await);
    drop(armed); // disarms, where QEMU has not cleaned up after itself
    again(lab, &source, &shim).await;
}

/// Arms anew and migrates to the end.
async fn again(lab: &Lab, source: &Vm, shim: &Shim) {
    source.set_parameters(json!({"max-bandwidth": 1 << 30})).await;
    let set = scattered();
    let armed = shim.arm(&set).unwrap();
    let destination = Vm::destination(lab).await;
    begin(lab, source, &destination).await;
    completes(source, &destination).await;
    assert_eq!(differing_bytes(source, &destination), 0);
    let status = armed.status();
    assert_eq!(status.hinted, u64::from(set.pages()));
    assert_eq!(status.redirtied_unconfirmed, u64::from(set.pages()));
}

on_each_qemu! { a_dead_destination_costs_one_attempt, a_refused_connection_disarms }
