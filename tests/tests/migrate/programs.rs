//! A program of Poolferry's is killed: the migration completes as a stock one would, or the VM stays and the next
//! migration works.

use anyhow::Result;
use lab::hop::{Attempt, Mode};
use lab::laboratory::Laboratory;
use lab::migration::{Migration, Ongoing};
use lab::workload::Workload;
use rustix::process::Signal;

use crate::shared::{Needs, folder, migrated, run, same};

/// How far a migration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The set is being offered: QEMU does not migrate yet.
    Offer,
    /// The first pages are installed.
    FirstInstalled,
    /// Half of the pages are installed.
    HalfInstalled,
}

fn reached(ongoing: &Ongoing<'_>, phase: Phase) -> bool {
    match phase {
        Phase::Offer => ongoing.output().contains("\"name\":\"negotiation\""),
        Phase::FirstInstalled => ongoing.highest("installed_pages") > 0,
        Phase::HalfInstalled => {
            let to_place = ongoing.highest("skipped_pages") - ongoing.highest("zero_pages");
            ongoing.highest("installed_pages") > to_place.max(2) / 2
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Receiver,
    Driver,
}

fn killed(lab: &mut Laboratory, victim: Victim, phase: Phase, workload: Workload) -> Result<()> {
    lab.load(workload)?;
    let mut has_fallen = false;
    let mut migration = Migration::with_fault(|ongoing| {
        if !has_fallen && reached(ongoing, phase) {
            has_fallen = true;
            match victim {
                Victim::Receiver => ongoing.receiver.signal(Signal::KILL),
                Victim::Driver => ongoing.driver.signal(Signal::KILL),
            }
        }
        Ok(())
    });
    if phase == Phase::HalfInstalled {
        // Else the network may have the other half by then.
        migration.migrate.push("--no-share".to_owned());
    }
    let folder = folder(lab);
    let attempt = lab.attempt(Mode::Poolferry, &folder, &mut migration)?;
    drop(migration);
    assert!(has_fallen, "the migration was over before {phase:?}");
    // A destination that is left waiting must not disturb the next migration, so it is kept.
    let _waiting = match attempt {
        Attempt::Arrived(hop) => {
            same(&hop);
            None
        }
        Attempt::Stayed(ended, destination) => {
            assert_eq!(phase, Phase::Offer, "a migration under way completes: {ended:?}");
            println!("the VM stays: {}", ended.status);
            Some(destination)
        }
    };
    // Wherever it is, the next migration is a whole one.
    lab.load(Workload::Idle)?;
    let pages = migrated(lab)?.pages;
    assert!(pages.installed > 0, "{pages:?}");
    Ok(())
}

macro_rules! killed {
    ($($name:ident: $victim:ident, $phase:ident, $workload:ident;)+) => {$(
        #[test]
        fn $name() {
            run(concat!("programs::", stringify!($name)), Needs::Poolferry, |lab| {
                killed(lab, Victim::$victim, Phase::$phase, Workload::$workload)
            });
        }
    )+};
}

killed! {
    receiver_at_the_offer: Receiver, Offer, Idle;
    receiver_at_the_first_page: Receiver, FirstInstalled, Idle;
    receiver_half_way_under_writes: Receiver, HalfInstalled, Rw;
    driver_at_the_offer: Driver, Offer, Idle;
    driver_at_the_first_page: Driver, FirstInstalled, Idle;
    driver_half_way_under_writes: Driver, HalfInstalled, Rw;
}
