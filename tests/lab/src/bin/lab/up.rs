//! `lab up`: a laboratory for people.

use anyhow::Result;
use lab::laboratory::Laboratory;
use lab::mode::Mode;
use lab::network::Host;
use lab::setup::{Programs, Setup};
use lab::steps::print_line;
use lab::wait;
use test_servers::cache::Cache;

/// Boots the VM and a destination for it, prints how to reach them, and keeps them until the user ends it.
pub(crate) fn keep(cache: &Cache, setup: Setup, programs: Programs) -> Result<()> {
    let agent = programs.poolferry.is_some();
    let workload = setup.workload;
    let mut lab = Laboratory::boot(cache, setup, programs)?;
    lab.busy()?;
    lab.load(workload)?;
    if agent {
        lab.start_agent()?;
    }
    let destination = lab.destination(Mode::Poolferry)?;
    let source = lab.machine();
    for (name, machine) in [("source", &*source), ("destination", &destination)] {
        print_line(&format!("\n{name}: monitor `{}`", machine.qmp().display()));
        print_line(&format!("  agent's port `{}`", machine.agent().display()));
        print_line(&format!("  shell: cargo xtask lab shell {}", machine.shell().display()));
    }
    for host in [Host::A, Host::B] {
        let space = lab.network().of(host);
        print_line(&format!("\nhost {}: ip netns exec {space} COMMAND", host.site()));
        print_line(&format!("  address on the migration link {}", host.migration_address()));
    }
    print_line("\nCtrl-C, or `cargo xtask lab down` elsewhere, ends it.");
    loop {
        // An end that the user wants is no failure.
        if wait::go_on().is_err() {
            return Ok(());
        }
        lab.machine().process().still_runs()?;
        let _ = wait::pause(std::time::Duration::from_millis(500));
    }
}
