//! Trace records are lost only when the ring is full, and each loss is counted.

use std::thread::sleep;
use std::time::Duration;

use probe_abi::{PROBES, Probe, ProbeCounters, Record};
use test_servers::{Config, LoadSpec, Release, Script};
use userspace::probes::{ProbeOptions, Probes};

use crate::lab::{DATA, observe, on_each_mysql, open, settle, start};
use crate::under_load::assert_table_is_true;

/// The smallest ring that the kernel makes.
const RING_BYTES: u32 = 4096;

/// Counters that have not moved for a while.
fn quiet(probes: &Probes) -> [ProbeCounters; PROBES] {
    let mut last = probes.counters().unwrap();
    for _ in 0..100 {
        sleep(Duration::from_millis(500));
        let now = probes.counters().unwrap();
        if now == last {
            return now;
        }
        last = now;
    }
    panic!("the server is never quiet");
}

fn every_hit_is_received_or_counted_as_lost(release: Release) {
    let server = start(release, Config::new().pool_mib(24).sysbench(DATA));
    settle(&server);
    let observed = open(&server);
    let options = ProbeOptions { ring_bytes: RING_BYTES, ..ProbeOptions::default() };
    let (target, layout, pool_map) = (&observed.target, &observed.layout, &observed.pool_map);
    let attached = Probes::attach(target, observed.profile(), layout, pool_map, options);
    let (mut probes, _table) = attached.unwrap();
    let mut ring = probes.take_trace().unwrap();
    let before = quiet(&probes);
    probes.set_trace(true).unwrap();
    assert_eq!(probes.counters().unwrap(), before, "an event came while tracing was switched on");
    // The same load is watched by an observer of the usual kind, whose table must stay true.
    let mut observer = observe(&server);
    let load = server.load(&LoadSpec::new(Script::ReadWrite, 4).seconds(5).uniform()).unwrap();
    let mut received = [0_u64; PROBES];
    let mut drain = || {
        while let Some(item) = ring.next() {
            assert_eq!(item.len(), size_of::<Record>());
            // `Record::probe` follows three 64-bit words.
            let probe = u32::from_ne_bytes(item[24..28].try_into().unwrap());
            received[probe as usize] += 1;
        }
    };
    for _ in 0..60 {
        drain();
        sleep(Duration::from_millis(100));
    }
    load.wait().unwrap();
    settle(&server);
    let after = quiet(&probes);
    drain();
    for probe in [Probe::Read, Probe::Written, Probe::Dirty, Probe::Evicted] {
        let (before, after) = (before[probe as usize], after[probe as usize]);
        let (hits, lost) = (after.hits - before.hits, after.ring_lost - before.ring_lost);
        let got = received[probe as usize];
        println!("{}: {hits} hits = {got} received + {lost} lost", probe.name());
        assert_eq!(hits, got + lost, "{}", probe.name());
        assert!(got > 0 && lost > 0, "{}: {got} received, {lost} lost", probe.name());
    }
    observer.audit().unwrap();
    assert_table_is_true(&observer);
    assert_eq!(observer.audited().drift, 0);
}

on_each_mysql!(every_hit_is_received_or_counted_as_lost);
