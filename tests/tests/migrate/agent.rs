//! The guest's agent is not there: all travels by network.

use anyhow::Result;
use lab::ferry::Ferry;
use lab::laboratory::{AGENT, Laboratory};
use lab::wait;
use lab::workload::Workload;
use rustix::process::Signal;
use std::time::Duration;

use crate::shared::{Needs, arrives, ferried, record, run};

fn missing(lab: &mut Laboratory) -> Result<()> {
    lab.load(Workload::Ro)?;
    lab.guest().signal(AGENT, Signal::KILL)?;
    wait::until("the agent's end", Duration::from_secs(30), || {
        Ok(lab.guest().how_ended(AGENT).map(drop))
    })?;
    let migrate = vec!["--list-timeout".to_owned(), "3".to_owned()];
    let ferry = Ferry { migrate, ..Ferry::meddling(|_| Ok(())) };
    arrives(lab, ferry)?;
    let without = record(lab)?;
    assert_eq!(without.pages.skipped, 0, "{:?}", without.pages);
    assert!(!without.remarks.is_empty(), "the record does not say why all travelled by network");
    lab.start_agent()?;
    let pages = ferried(lab)?.pages;
    assert!(pages.restored > 0, "{pages:?}");
    Ok(())
}

#[test]
fn an_agent_that_is_missing_costs_only_speed() {
    run("agent::an_agent_that_is_missing_costs_only_speed", Needs::Poolferry, missing);
}
