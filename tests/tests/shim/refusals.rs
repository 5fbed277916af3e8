//! Sets, settings and times that are wrong: the library says why, and QEMU migrates as ever.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use qemu_glue::set::SkipSet;
use qemu_glue::shim::{SetState, Shim, ShimError};
use serde_json::json;
use shim_abi::{CONFIRMED_AT, RUNS_AT, RefusalReason};

use crate::guest::{FIRST_PAGE, MEMORY};
use crate::lab::{Lab, on_each_qemu};
use crate::migration::{begin, completes, differing_bytes, pause, resume, stock};
use crate::sets::{all, plain, set};
use crate::vm::{BLOCK, Options, Vm};

/// Migrates with `set`, whose table `spoil` may change once it is armed; the reason why it is refused.
/// Everything is confirmed, so that a page that is hinted all the same is missed at the destination.
async fn refused(
    lab: &Lab,
    source: &Vm,
    set: &SkipSet,
    spoil: impl FnOnce(&File),
) -> (Option<RefusalReason>, String) {
    let armed = Shim::open(source.pid).unwrap().arm(set).unwrap();
    armed.confirm(all(set));
    spoil(&shared_file(source.pid));
    let destination = Vm::destination(lab).await;
    begin(lab, source, &destination).await;
    completes(source, &destination).await;
    assert_eq!(differing_bytes(source, &destination), 0);
    resume(source).await;
    let status = armed.status();
    assert_eq!((status.state, status.hinted), (SetState::Refused, 0));
    let refusal = status.reason.unwrap();
    (refusal.reason(), refusal.to_string())
}

fn shared_file(pid: u32) -> File {
    let mut links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|entry| entry.unwrap());
    let is_ours = |path: &std::path::Path| {
        fs::read_link(path).is_ok_and(|to| to.to_string_lossy().contains("poolferry-qemu"))
    };
    let path = links.find_map(|entry| is_ours(&entry.path()).then(|| entry.path())).unwrap();
    File::options().write(true).read(true).open(path).unwrap()
}

/// Tables that a host would not write, and blocks that QEMU does not have.
async fn a_wrong_set_is_refused(lab: &Lab) {
    let source = Vm::source(lab, Options::default()).await;
    let keep = |_: &File| {};
    let stranger = set("mem9", MEMORY, &[(FIRST_PAGE, 10)]);
    let (reason, text) = refused(lab, &source, &stranger, keep).await;
    assert_eq!(reason, Some(RefusalReason::UnknownBlock(0)));
    assert_eq!(text, "QEMU has no RAM block `mem9`");
    let longer = set(BLOCK, MEMORY * 2, &[(MEMORY / 4096, 10)]);
    let (reason, _) = refused(lab, &source, &longer, keep).await;
    assert_eq!(reason, Some(RefusalReason::Length { block: 0, bytes: MEMORY }));

    let two = set(BLOCK, MEMORY, &[(FIRST_PAGE, 10), (FIRST_PAGE + 20, 10)]);
    let offset = |run: u64, offset: u64| {
        move |file: &File| {
            file.write_all_at(&offset.to_ne_bytes(), RUNS_AT as u64 + run * 24).unwrap();
        }
    };
    let overlap = offset(1, (FIRST_PAGE + 5) * 4096);
    assert_eq!(refused(lab, &source, &two, overlap).await.0, Some(RefusalReason::Order(1)));
    let odd = offset(0, FIRST_PAGE * 4096 + 8);
    assert_eq!(refused(lab, &source, &two, odd).await.0, Some(RefusalReason::Unaligned(0)));
    let beyond = offset(1, MEMORY - 4096);
    assert_eq!(refused(lab, &source, &two, beyond).await.0, Some(RefusalReason::Beyond(1)));
    let far = offset(1, !4095);
    assert_eq!(refused(lab, &source, &two, far).await.0, Some(RefusalReason::Beyond(1)));
    let noise = |file: &File| {
        let bytes: Vec<u8> = (0..48_u64).map(|n| (n * 2_654_435_761).to_le_bytes()[1]).collect();
        file.write_all_at(&bytes, RUNS_AT as u64).unwrap();
        file.write_all_at(&bytes, CONFIRMED_AT as u64).unwrap();
    };
    assert_eq!(refused(lab, &source, &two, noise).await.0, Some(RefusalReason::Unaligned(0)));
}

/// Settings that do not go together with a skip.
async fn a_wrong_setting_is_refused(lab: &Lab) {
    let source = Vm::source(lab, Options::default()).await;
    source.set_capability("postcopy-ram", true).await;
    let armed = Shim::open(source.pid).unwrap().arm(&plain()).unwrap();
    let destination = Vm::destination(lab).await;
    destination.set_capability("postcopy-ram", true).await;
    begin(lab, &source, &destination).await;
    completes(&source, &destination).await;
    assert_eq!(differing_bytes(&source, &destination), 0);
    let reason = armed.status().reason.unwrap();
    assert_eq!(reason.to_string(), "the migration's setting `postcopy-ram` forbids it");
    drop((armed, destination));
    source.set_capability("postcopy-ram", false).await;
    resume(&source).await;

    // From 9.1 on the receiver leaves the page of a first zero page as it is.
    let new = lab.qemu.release().version() >= (9, 1);
    for detection in ["multifd", "legacy"] {
        let set = plain();
        let armed = Shim::open(source.pid).unwrap().arm(&set).unwrap();
        let destination = Vm::destination(lab).await;
        for vm in [&source, &destination] {
            vm.set_capability("multifd", true).await;
            if new {
                vm.set_parameters(json!({ "zero-page-detection": detection })).await;
            }
        }
        begin(lab, &source, &destination).await;
        completes(&source, &destination).await;
        assert_eq!(differing_bytes(&source, &destination), 0);
        let status = armed.status();
        let refused = new && detection == "multifd";
        assert_eq!(status.state == SetState::Refused, refused, "{detection}: {status:?}");
        if refused {
            let text = status.reason.unwrap().to_string();
            assert!(text.contains("zero-page-detection=multifd"), "{text}");
        }
        resume(&source).await;
    }
}

/// QEMU may have sent any page when the first sync is over.
async fn late_arming_is_refused(lab: &Lab) {
    let source = Vm::source(lab, Options::default()).await;
    let shim = Shim::open(source.pid).unwrap();
    source.set_parameters(json!({"max-bandwidth": 4 << 20})).await;
    let destination = Vm::destination(lab).await;
    begin(lab, &source, &destination).await;
    pause(500).await;
    let set = plain();
    let armed = shim.arm(&set).unwrap();
    armed.confirm(all(&set));
    assert!(matches!(shim.arm(&set), Err(ShimError::InUse { .. })), "armed twice");
    source.set_parameters(json!({"max-bandwidth": 1 << 30})).await;
    completes(&source, &destination).await;
    assert_eq!(differing_bytes(&source, &destination), 0);
    let status = armed.status();
    assert_eq!(status.state, SetState::Refused);
    assert_eq!(status.reason.unwrap().reason(), Some(RefusalReason::Late));
    resume(&source).await;
    drop(destination);
    stock(lab, &source).await;
}

/// A VM that does not run has no last sync that would mark the end.
async fn a_paused_vm_is_refused(lab: &Lab) {
    let source = Vm::source(lab, Options::default()).await;
    source.execute("stop", json!({})).await;
    let (reason, _) = refused(lab, &source, &plain(), |_| {}).await;
    assert_eq!(reason, Some(RefusalReason::NotRunning));
}

on_each_qemu! {
    a_wrong_set_is_refused,
    a_wrong_setting_is_refused,
    late_arming_is_refused,
    a_paused_vm_is_refused,
}
