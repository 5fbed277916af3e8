//! Two records as a real pair of migrations would leave them, for tests.

use migration_record::{
    Function, FunctionState, Links, MigrationStatus, Pages, RamIdentity, Report, Side, Sides,
    Transactions,
};
use migration_record::{MigrationPhase, Sample, Sync, Tps};

const GIB: u64 = 1 << 30;

/// Stock in 20 s, Poolferry in 10 s.
pub(crate) fn sample_reports() -> Vec<Report> {
    let mut ours = record("poolferry", 10, GIB, GIB);
    ours.pages = Pages {
        listed: 270_000,
        skipped: 272_144,
        zero: 10_000,
        installed: 260_000,
        already_present: 1_000,
        redirtied: 1_144,
    };
    ours.redirtied_by_reason = [("differs".into(), 1_100), ("too-late".into(), 44)].into();
    let steps =
        [("sync", 0.01), ("scan", 0.02), ("translate", 0.03), ("transfer", 0.001), ("total", 0.07)];
    ours.list_s = steps.map(|(step, seconds)| (step.into(), seconds)).into();
    vec![record("stock", 20, 2 * GIB, 0), ours]
}

fn record(mode: &str, seconds: u32, network_bytes: u64, storage_bytes: u64) -> Report {
    let total = f64::from(seconds);
    let sample = |tenth: u32| Sample {
        at_s: f64::from(tenth) / 10.0,
        remaining_bytes: network_bytes - network_bytes * u64::from(tenth) / u64::from(seconds * 10),
        network_bytes: network_bytes * u64::from(tenth) / u64::from(seconds * 10),
        storage_bytes: storage_bytes * u64::from(tenth) / u64::from(seconds * 10),
        dirty_pages_per_s: Some(f64::from(tenth % 7) * 100.0),
        outstanding_pages: (storage_bytes > 0).then(|| u64::from(seconds * 10 - tenth)),
        installed_pages: (storage_bytes > 0).then_some(u64::from(tenth)),
        ..Sample::default()
    };
    let tps = |second: i32| Tps { at_s: f64::from(second), tps: 1000.0, latency_ms: Some(3.0) };
    let phase = |name: &str, begin_s, end_s| MigrationPhase { name: name.into(), begin_s, end_s };
    let sync = Sync { begin_s: 1.0, duration_ms: 3.0 };
    Report {
        mode: mode.into(),
        workload: "ro".into(),
        status: MigrationStatus::Completed,
        memory_bytes: 2 * GIB,
        pool_bytes: Some(GIB * 6 / 5),
        links: Links {
            network_bits_per_s: Some(1_000_000_000),
            storage_bits_per_s: Some(1_000_000_000),
        },
        total_time_s: total,
        command_s: Some(total + 0.5),
        downtime_ms: 42.0,
        network_bytes,
        storage_bytes,
        ram_identity: Some(RamIdentity { compared_bytes: 2 * GIB, differing_bytes: 0 }),
        samples: (0..=seconds * 10).map(sample).collect(),
        phases: vec![
            phase("list", -0.5, Some(0.0)),
            phase("first pass", 0.0, Some(total)),
            phase("throttle", 1.0, None),
        ],
        syncs: vec![sync],
        tps: (-10..30).map(tps).collect(),
        probes: Sides {
            source: Some(Side {
                functions: vec![Function {
                    name: "vm_start".into(),
                    state: FunctionState::NeverFired,
                    calls: 0,
                }],
                syncs: vec![sync],
                vm_stop_s: Some(total - 0.05),
                ..Side::default()
            }),
            destination: None,
        },
        transactions: Some(Transactions { seconds: 18.0, by_probes: 1010, by_load: 1000.0 }),
        warnings: vec!["A warning.".into()],
        ..Report::default()
    }
}
