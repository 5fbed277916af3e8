//! The destination's QEMU dies, the link between the hosts breaks, or the user has enough: the VM runs on at the source.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lab::hop::{Attempt, Mode};
use lab::laboratory::Laboratory;
use lab::migration::{Migration, Ongoing};
use lab::workload::Workload;
use rustix::process::Signal;

use crate::shared::{Needs, folder, migrated, run};

/// Migrates while `break_it` does its work once pages are installed; the VM must stay, and the next migration must work.
fn stays(
    lab: &mut Laboratory,
    mut break_it: impl FnMut(&mut Ongoing<'_>) -> Result<()>,
) -> Result<()> {
    lab.load(Workload::Rw)?;
    let mut done = false;
    let mut migration = Migration::with_fault(|ongoing| {
        if !done && ongoing.highest("installed_pages") > 0 {
            done = true;
            break_it(ongoing)?;
        }
        Ok(())
    });
    let folder = folder(lab);
    let attempt = lab.attempt(Mode::Poolferry, &folder, &mut migration)?;
    drop(migration);
    assert!(done, "the migration was over before a page was installed");
    if let Attempt::Arrived(hop) = attempt {
        bail!("the VM has arrived where nobody is: {:?}", hop.ended);
    }
    lab.load(Workload::Idle)?;
    let pages = migrated(lab)?.pages;
    assert!(pages.installed > 0, "{pages:?}");
    lab.check()
}

#[test]
fn the_destination_dies() {
    run("hosts::the_destination_dies", Needs::Poolferry, |lab| {
        stays(lab, |ongoing| {
            ongoing.destination.process().kill();
            Ok(())
        })
    });
}

#[test]
fn the_user_interrupts_it() {
    run("hosts::the_user_interrupts_it", Needs::Poolferry, |lab| {
        stays(lab, |ongoing| {
            ongoing.driver.signal(Signal::INT);
            Ok(())
        })
    });
}

/// QEMU itself would wait for the link as long as TCP does; the user ends it.
#[test]
fn the_link_breaks_and_the_user_interrupts() {
    run("hosts::the_link_breaks_and_the_user_interrupts", Needs::Poolferry, |lab| {
        stays(lab, |ongoing| {
            ongoing.lab.network().cut_migration(true)?;
            let cut = Instant::now();
            while cut.elapsed() < Duration::from_secs(3) {
                lab::wait::pause(Duration::from_millis(100))?;
            }
            ongoing.driver.signal(Signal::INT);
            // The cancelled migration does not need the link, the next one does.
            lab::wait::pause(Duration::from_secs(2))?;
            ongoing.lab.network().cut_migration(false)
        })
    });
}
