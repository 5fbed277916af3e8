//! What nobody has armed is stock.

use qemu_glue::shim::{SetState, Shim};
use serde_json::json;
use test_servers::command;

use crate::lab::{Lab, on_each_qemu};
use crate::migration::{begin, completes, differing_bytes, reaches, resume, stock};
use crate::sets::{all, plain};
use crate::vm::{Options, Vm};

/// After an armed migration has completed, the next one sends everything.
async fn the_second_migration_is_stock(lab: &Lab) {
    let source = Vm::source(lab, Options::default()).await;
    let expected = stock(lab, &source).await;
    let set = plain();
    let armed = Shim::open(source.pid).unwrap().arm(&set).unwrap();
    armed.confirm(all(&set)); // though nobody restores: the VM runs on here
    let destination = Vm::destination(lab).await;
    begin(lab, &source, &destination).await;
    let sent = completes(&source, &destination).await;
    assert_eq!(sent, expected - u64::from(set.pages()));
    drop(destination);
    resume(&source).await;
    assert_eq!(stock(lab, &source).await, expected);
}

/// So it is after one that was cancelled, and the one after can be armed again.
async fn a_cancelled_migration_leaves_nothing_armed(lab: &Lab) {
    let source = Vm::source(lab, Options::default()).await;
    let expected = stock(lab, &source).await;
    let set = plain();
    let shim = Shim::open(source.pid).unwrap();
    let armed = shim.arm(&set).unwrap();
    armed.confirm(all(&set));
    source.set_parameters(json!({"max-bandwidth": 1 << 20})).await;
    let destination = Vm::destination(lab).await;
    begin(lab, &source, &destination).await;
    crate::sets::hinted(&armed).await;
    source.execute("migrate_cancel", json!({})).await;
    reaches(&source, "cancelled").await;
    drop(destination);
    assert!(source.runs().await);
    assert_eq!(armed.status().state, SetState::Ended);
    source.set_parameters(json!({"max-bandwidth": 1 << 30})).await;
    assert_eq!(stock(lab, &source).await, expected);
    drop(armed);

    let armed = shim.arm(&set).unwrap();
    let destination = Vm::destination(lab).await;
    begin(lab, &source, &destination).await;
    completes(&source, &destination).await;
    let status = armed.status();
    assert_eq!(status.redirtied_unconfirmed, u64::from(set.pages()), "confirmed before, not now");
    assert_eq!(differing_bytes(&source, &destination), 0);
}

/// A set that its host has dropped is used by nobody.
async fn a_dropped_set_is_disarmed(lab: &Lab) {
    let source = Vm::source(lab, Options::default()).await;
    let expected = stock(lab, &source).await;
    let shim = Shim::open(source.pid).unwrap();
    drop(shim.arm(&plain()).unwrap());
    assert_eq!(stock(lab, &source).await, expected);
}

/// So is one that its host has taken back in time; one that a migration has taken stays skipped.
async fn a_set_is_taken_back_before_a_migration(lab: &Lab) {
    let source = Vm::source(lab, Options::default()).await;
    let expected = stock(lab, &source).await;
    let set = plain();
    let shim = Shim::open(source.pid).unwrap();
    let armed = shim.arm(&set).unwrap();
    armed.disarm();
    assert_eq!(stock(lab, &source).await, expected);
    assert_eq!((armed.status().state, armed.status().hinted), (SetState::Armed, 0));
    drop(armed);

    let armed = shim.arm(&set).unwrap();
    armed.confirm(all(&set));
    source.set_parameters(json!({"max-bandwidth": 1 << 20})).await;
    let destination = Vm::destination(lab).await;
    begin(lab, &source, &destination).await;
    crate::sets::hinted(&armed).await;
    armed.disarm();
    source.set_parameters(json!({"max-bandwidth": 1 << 30})).await;
    assert_eq!(completes(&source, &destination).await, expected - u64::from(set.pages()));
    assert_eq!(armed.status().hinted, u64::from(set.pages()));
}

/// A snapshot has every page, armed or not; a set that was armed for it is refused.
async fn a_snapshot_has_every_page(lab: &Lab) {
    let disk = lab.folder().join("snapshots.qcow2");
    let mut create = lab.qemu.tool("qemu-img");
    command::output(create.args(["create", "-q", "-f", "qcow2"]).arg(&disk).arg("1G")).unwrap();
    let drive = format!("if=none,id=snapshots,format=qcow2,file={}", disk.display());
    let arguments = ["-drive", &drive, "-device", "ide-hd,drive=snapshots"];
    // The boot disk takes no part, as it is raw: vmstate wants every writable disk to have snapshots.
    let options = Options { arguments: &arguments, read_only: true, ..Options::default() };
    let source = Vm::source(lab, options).await;
    let shim = Shim::open(source.pid).unwrap();
    let armed = shim.arm(&plain()).unwrap();
    armed.confirm(all(&plain()));
    let before = source.read(0x100_0000, 1 << 20);
    assert_eq!(source.qmp.hmp("savevm test").await.unwrap(), "");
    let status = armed.status();
    assert_eq!(status.state, SetState::Refused);
    assert_eq!(status.reason.unwrap().to_string(), "the VM does not run");
    source.execute("stop", json!({})).await;
    let nothing = vec![0; 1 << 20];
    std::os::unix::fs::FileExt::write_all_at(&source.memory, &nothing, 0x100_0000).unwrap();
    assert_eq!(source.qmp.hmp("loadvm test").await.unwrap(), "");
    assert!(source.read(0x100_0000, 1 << 20) == before, "the snapshot lacks pages");
}

on_each_qemu! {
    the_second_migration_is_stock,
    a_cancelled_migration_leaves_nothing_armed,
    a_dropped_set_is_disarmed,
    a_set_is_taken_back_before_a_migration,
    a_snapshot_has_every_page,
}
