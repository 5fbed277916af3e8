//! The probes' figures held against QEMU's own.

use migration_record::FunctionState;
use qemu_glue::timeline::QemuFunction;
use test_qemus::{Qemu, QemuRelease};

use crate::migration::migrate;

/// Milliseconds by which two clocks that are read at neighbouring places may differ: QEMU counts whole
/// milliseconds, and a machine that does something else in between takes its time.
const TOLERANCE_MS: f64 = 15.0;

/// Functions that each side of a migration must call in every release.
const AT_SOURCE: [QemuFunction; 6] = [
    QemuFunction::SyncBegin,
    QemuFunction::SyncEnd,
    QemuFunction::Iterate,
    QemuFunction::Complete,
    QemuFunction::Stop,
    QemuFunction::State,
];

/// Syncs, downtime and total time of both ways to look at a migration.
pub(crate) async fn agree_with_qmp(qemu: &Qemu) {
    let migrated = migrate(qemu).await;
    let (source, destination, info) = (migrated.source, migrated.destination, migrated.info);
    let [from, to] = &migrated.calls;
    for function in AT_SOURCE {
        assert_eq!(from.state(function), FunctionState::Fired, "{}", function.name());
    }
    // It was running when the probes were set, and runs on nowhere but at the destination.
    assert_ne!(from.state(QemuFunction::Start), FunctionState::Fired);
    assert_eq!(to.state(QemuFunction::Start), FunctionState::Fired);
    assert_eq!((source.lost, destination.lost), (0, 0));

    // 11.1 does not count the last sync, which it makes while the VM stands still: no MIGRATION_PASS
    // comes after STOP there, and one does up to 10.0.
    let uncounted = u64::from(qemu.release() == QemuRelease::Q111);
    let syncs = info["ram"]["dirty-sync-count"].as_u64().unwrap() + uncounted;
    assert_eq!(source.syncs.len() as u64, syncs, "{source:?}");
    assert!(syncs >= 2, "{info}");
    assert!(source.syncs.iter().all(|sync| sync.duration_ms > 0.0), "{:?}", source.syncs);
    assert!(destination.syncs.is_empty(), "{:?}", destination.syncs);
    assert!(source.iterations > 0 && source.iterating_s > 0.0);

    let stop_s = source.vm_stop_s.unwrap();
    let ended_s = source.ended_s.unwrap();
    let start_s = destination.vm_start_s.unwrap();
    let figure = |name: &str| info[name].as_f64().unwrap();
    let (downtime_ms, seen_ms) = (figure("downtime"), (ended_s - stop_s) * 1000.0);
    let (total_ms, ended_ms) = (figure("total-time"), ended_s * 1000.0);
    println!(
        "{:?}: {syncs} syncs; downtime {downtime_ms} ms, by probes {seen_ms:.1} ms to the end and {:.1} ms to the start; \
         total {total_ms} ms, by probes {ended_ms:.1} ms",
        qemu.release(),
        (start_s - stop_s) * 1000.0,
    );
    assert!((downtime_ms - seen_ms).abs() <= TOLERANCE_MS, "{downtime_ms} and {seen_ms}");
    assert!((total_ms - ended_ms).abs() <= TOLERANCE_MS, "{total_ms} and {ended_ms}");
    assert!(start_s > stop_s, "started at {start_s} s, stopped at {stop_s} s");
    assert!(stop_s > source.syncs[0].begin_s, "{source:?}");
}
