//! From ready to ended, once per arming.

use std::sync::atomic::Ordering::Relaxed;

use shim_abi::{LibraryState, RefusalReason};

use super::Bench;

const RUNS: &[(u32, u64, u32)] = &[(0, 300, 3), (0, 303, 2), (1, 7, 1)];

#[test]
fn a_set_is_hinted_at_the_first_sync_and_only_there() {
    let mut bench = Bench::new();
    assert_eq!(bench.state(), LibraryState::Ready);
    bench.arm(RUNS);
    bench.sync();
    assert_eq!(bench.state(), LibraryState::Hinted);
    assert_eq!(bench.hinted(), [(0, 300), (0, 301), (0, 302), (0, 303), (0, 304), (1, 7)]);
    assert_eq!(bench.control.hinted.load(Relaxed), 6);
    let times = [&bench.control.hint_begun, &bench.control.hint_returned].map(|t| t.load(Relaxed));
    assert!(0 < times[0] && times[0] < times[1], "{times:?}");
    bench.sync(); // would hint twice
    assert_eq!(bench.marked(), []);
}

#[test]
fn setup_and_complete_change_nothing() {
    let mut bench = Bench::new();
    bench.arm(RUNS);
    for reason in [0, 3, 5, -1] {
        bench.notify(reason);
    }
    assert_eq!((bench.state(), bench.hinted().len()), (LibraryState::Ready, 0));
}

#[test]
fn unarmed_migrations_are_stock() {
    let mut bench = Bench::new();
    bench.sync();
    bench.sync();
    bench.finish();
    assert_eq!((bench.hinted(), bench.marked()), (vec![], vec![]));
    assert_eq!(bench.control.syncs.load(Relaxed), 3);
}

#[test]
fn the_second_migration_of_an_arming_is_stock() {
    let mut bench = Bench::new();
    bench.arm(RUNS);
    bench.sync();
    bench.finish();
    assert_eq!(bench.state(), LibraryState::Ended);
    bench.marked();
    bench.qemu.stopped.set(false);
    bench.qemu.hinted.borrow_mut().clear();
    bench.sync();
    bench.finish();
    assert_eq!((bench.hinted(), bench.marked()), (vec![], vec![]));
}

#[test]
fn a_set_can_be_armed_after_the_last_one_has_ended() {
    let mut bench = Bench::new();
    bench.arm(RUNS);
    bench.sync();
    bench.confirm(0);
    bench.finish();
    bench.qemu.stopped.set(false);
    bench.qemu.hinted.borrow_mut().clear();
    bench.marked();
    bench.arm(&[(0, 500, 1)]);
    bench.sync();
    assert_eq!((bench.state(), bench.hinted()), (LibraryState::Hinted, vec![(0, 500)]));
    assert_eq!(bench.control.redirtied_unconfirmed.load(Relaxed), 0, "figures of the set before");
    bench.finish();
    assert_eq!(bench.marked(), [(0, 500)], "the confirmation of the set before counts no more");
}

#[test]
fn what_is_armed_after_the_first_sync_is_refused() {
    let mut bench = Bench::new();
    bench.sync();
    bench.arm(RUNS);
    bench.sync();
    assert_eq!((bench.state(), bench.reason()), (LibraryState::Refused, Some(RefusalReason::Late)));
    bench.finish();
    bench.qemu.stopped.set(false);
    bench.sync();
    assert_eq!(bench.hinted(), [], "the next migration has not been armed");
}

#[test]
fn what_is_armed_in_a_hinted_migration_leaves_its_set_alone() {
    let mut bench = Bench::new();
    bench.arm(RUNS);
    bench.sync();
    bench.arm(&[(0, 400, 1)]); // a host that breaks the rules: it clears the bitmaps, too
    bench.sync();
    assert_eq!((bench.state(), bench.reason()), (LibraryState::Hinted, Some(RefusalReason::Late)));
    bench.finish();
    assert_eq!(bench.marked(), bench.hinted(), "nothing was confirmed");
}

#[test]
fn a_migration_that_fails_at_once_disarms() {
    let mut bench = Bench::new();
    bench.arm(RUNS);
    bench.clean_up();
    assert_eq!(
        (bench.state(), bench.reason()),
        (LibraryState::Refused, Some(RefusalReason::Ended))
    );
    bench.sync();
    assert_eq!(bench.hinted(), []);
}

#[test]
fn a_hold_marks_pages_while_the_vm_runs() {
    let mut bench = Bench::new();
    bench.arm(RUNS);
    bench.control.throttle.store(2, Relaxed);
    bench.sync();
    assert_eq!(bench.marked(), [], "nothing is hinted yet: QEMU has all pages to send");
    bench.sync();
    assert_eq!(bench.marked(), [(0, 0), (0, 1)]);
    bench.control.throttle.store(u32::MAX, Relaxed);
    bench.sync();
    assert_eq!(bench.marked().len(), 256);
    for page in 0..6 {
        bench.confirm(page);
    }
    bench.qemu.stopped.set(true);
    bench.sync();
    assert_eq!((bench.marked(), bench.control.throttled.load(Relaxed)), (vec![], 2));
}

#[test]
fn without_its_driver_a_set_goes_back_while_the_vm_runs() {
    let mut bench = Bench::new();
    bench.arm(RUNS);
    bench.control.throttle.store(8, Relaxed);
    bench.sync();
    bench.confirm(1);
    bench.sync();
    assert_eq!(bench.marked().len(), 8, "throttled");
    bench.kill_driver();
    bench.sync();
    assert_eq!(bench.marked(), [(0, 300), (0, 302), (0, 303), (0, 304), (1, 7)]);
    assert_eq!(bench.control.redirtied_unconfirmed.load(Relaxed), 5);
    assert_eq!(bench.control.final_sync.load(Relaxed), 0, "the VM runs");
    bench.sync();
    bench.finish();
    assert_eq!(bench.marked(), [], "throttled no more, and re-dirtied once");
    assert_eq!(bench.state(), LibraryState::Ended);
}

#[test]
fn what_a_killed_driver_has_armed_is_not_taken() {
    let mut bench = Bench::new();
    bench.arm(RUNS);
    bench.kill_driver();
    bench.sync();
    assert_eq!(
        (bench.state(), bench.reason()),
        (LibraryState::Refused, Some(RefusalReason::Abandoned))
    );
    bench.finish();
    assert_eq!((bench.hinted(), bench.marked()), (vec![], vec![]));
}
