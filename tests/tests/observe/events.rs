//! `trace --events`: each event is written once, and what is missing is reported, no more and no less.

use serde_json::Value;
use test_servers::{Config, LoadSpec, Release, Script};

use crate::agent::Agent;
use crate::lab::{DATA, on_each_mysql, start};

/// What a stream of records says.
#[derive(Debug, Default)]
struct Records {
    snapshots: u64,
    with_events: u64,
    events: u64,
    gaps: u64,
    /// Events that the gaps are of.
    missing: u64,
}

/// Reads records; at each snapshot, what the gaps have said so far is what the ring has lost.
fn read(text: &str) -> Records {
    let (mut records, mut new) = (Records::default(), 0);
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        match record["record"].as_str().unwrap() {
            "event" => new += 1,
            "gap" => {
                records.gaps += 1;
                records.missing += record["events"].as_u64().unwrap_or(1);
            }
            "snapshot" => {
                records.snapshots += 1;
                records.with_events += u64::from(new > 0);
                records.events += std::mem::take(&mut new);
                let probes = record["probes"].as_array().unwrap();
                let lost: u64 = probes.iter().map(|p| p["ring_lost"].as_u64().unwrap()).sum();
                assert_eq!(records.missing, lost, "{records:?}");
            }
            other => panic!("{other}"),
        }
    }
    records
}

fn gaps_are_what_the_ring_lost(release: Release) {
    let Some(agent) = Agent::find("gaps_are_what_the_ring_lost") else { return };
    let server = start(release, Config::new().pool_mib(24).sysbench(DATA));
    let _load = server.load(&LoadSpec::new(Script::ReadWrite, 2).rate(40).uniform()).unwrap();
    let pid = server.pid().to_string();
    let trace = |ring: &str| {
        let output = agent.run(&[
            "trace",
            "--pid",
            &pid,
            "--format",
            "jsonl",
            "--events",
            "--refresh",
            "500ms",
            "--duration",
            "4s",
            "--ring",
            ring,
        ]);
        let records = read(&String::from_utf8(output.stdout).unwrap());
        println!("ring of {ring} bytes: {records:?}");
        assert!(records.with_events > 3 && records.events > 100, "{records:?}");
        records
    };
    assert_eq!(trace("16777216").gaps, 0);
    assert!(trace("4096").missing > 0);
}

on_each_mysql!(gaps_are_what_the_ring_lost);
