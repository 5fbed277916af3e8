//! The guest's agent is not there: all travels by network.

use anyhow::Result;
use lab::laboratory::{AGENT, Laboratory};
use lab::migration::Migration;
use lab::wait;
use lab::workload::Workload;
use rustix::process::Signal;
use std::time::Duration;

use crate::shared::{Needs, arrives, migrated, record, run};

fn missing(lab: &mut Laboratory) -> Result<()> {
    lab.load(Workload::Ro)?;
    lab.guest().signal(AGENT, Signal::KILL)?;
    wait::until("the agent's end", Duration::from_secs(30), || {
        Ok(lab.guest().how_ended(AGENT).map(drop))
    })?;
    let migrate = vec!["--list-timeout".to_owned(), "3".to_owned()];
    let migration = Migration { migrate, ..Migration::with_fault(|_| Ok(())) };
    arrives(lab, migration)?;
    let without = record(lab)?;
    assert_eq!(without.pages.skipped, 0, "{:?}", without.pages);
    assert!(!without.warnings.is_empty(), "the record does not say why all travelled by network");
    lab.start_agent()?;
    let pages = migrated(lab)?.pages;
    assert!(pages.installed > 0, "{pages:?}");
    Ok(())
}

/// CPU time that the agent and its keeper have used: fields 14 and 15 of their `stat`, in hundredths of a second (proc(5)).
fn used(lab: &mut Laboratory) -> Result<u64> {
    let script = "for pid in $(pidof poolferry); do cat /proc/$pid/stat; done";
    let stats = lab.guest().run(&["sh", "-c", script], "")?;
    let times = stats.lines().flat_map(|stat| {
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name.split_whitespace().skip(11).take(2)
    });
    Ok(times.filter_map(|time| time.parse::<u64>().ok()).sum())
}

/// Nobody holds the host's end of its port, as between migrations.
fn alone(lab: &mut Laboratory) -> Result<()> {
    const SECONDS: u64 = 4;
    lab.load(Workload::Idle)?;
    lab.gauge_off();
    // Where the machine does other work too, the guest counts that as the agent's time: the best of some windows counts. One that
    // spins takes all of every window.
    let mut least = u64::MAX;
    for _ in 0..5 {
        let before = used(lab)?;
        assert!(before > 0, "its time was not read");
        wait::pause(Duration::from_secs(SECONDS))?;
        least = least.min(used(lab)? - before);
        println!("{least} hundredths of a second in {SECONDS} s at least");
        if least < 25 * SECONDS {
            return Ok(());
        }
    }
    panic!("{least} hundredths of a second in {SECONDS} s");
}

#[test]
fn an_agent_without_a_host_rests() {
    run("agent::an_agent_without_a_host_rests", Needs::Poolferry, alone);
}

#[test]
fn an_agent_that_is_missing_costs_only_speed() {
    run("agent::an_agent_that_is_missing_costs_only_speed", Needs::Poolferry, missing);
}
