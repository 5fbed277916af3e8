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
    assert!(!without.remarks.is_empty(), "the record does not say why all travelled by network");
    lab.start_agent()?;
    let pages = migrated(lab)?.pages;
    assert!(pages.restored > 0, "{pages:?}");
    Ok(())
}

/// CPU time that the agent has used: fields 14 and 15 of its `stat`, in hundredths of a second (proc(5)).
fn used(lab: &mut Laboratory) -> Result<u64> {
    let stat = lab.guest().run(&["sh", "-c", "cat /proc/$(pidof poolferry)/stat"], "")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let times = after_name.split_whitespace().skip(11).take(2);
    Ok(times.filter_map(|time| time.parse::<u64>().ok()).sum())
}

/// Nobody holds the host's end of its port, as between migrations.
fn alone(lab: &mut Laboratory) -> Result<()> {
    const SECONDS: u64 = 8;
    lab.load(Workload::Idle)?;
    lab.gauge_off();
    let before = used(lab)?;
    wait::pause(Duration::from_secs(SECONDS))?;
    let used = used(lab)? - before;
    assert!(before > 0, "its time was not read");
    assert!(used < 25 * SECONDS, "{used} hundredths of a second in {SECONDS} s");
    Ok(())
}

#[test]
fn an_agent_without_a_host_rests() {
    run("agent::an_agent_without_a_host_rests", Needs::Poolferry, alone);
}

#[test]
fn an_agent_that_is_missing_costs_only_speed() {
    run("agent::an_agent_that_is_missing_costs_only_speed", Needs::Poolferry, missing);
}
