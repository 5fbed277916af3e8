//! `lab`: what `cargo xtask lab` hands over to.
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::time::Duration;

use anyhow::Result;
use lab::hop::Mode;
use lab::laboratory::Laboratory;
use lab::setup::{Programs, Setup};
use test_servers::cache::Cache;

fn main() -> Result<()> {
    lab::wait::end_in_order()?;
    let cache = Cache::open()?;
    let mut lab =
        Laboratory::boot(&cache, Setup::small(lab::workload::Workload::Ro), Programs::find()?)?;
    lab.busy()?;
    let folder = std::path::Path::new("/tmp/t3-lab-out");
    let hop = lab.hop(Mode::Stock, folder, Duration::from_secs(5))?;
    println!("{:?} {:?} {:?}", hop.ended, hop.identity, hop.interruption);
    lab.check()?;
    Ok(())
}
