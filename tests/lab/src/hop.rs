//! One migration of the VM to the other host, with its proof.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::identity::{self, Identity};
use crate::interruption::Interruption;
use crate::laboratory::Laboratory;
use crate::migration::{self, Migration};
pub use crate::mode::Mode;
use crate::pause::Pause;
use crate::protocol::Tick;
use crate::steps::step;
use crate::vm::Machine;
use crate::watch::{self, Ended, LinkBytes, Watch};
use crate::{baseline, wait};

/// A migration ends within this time, whatever the link.
const LIMIT: Duration = Duration::from_secs(600);
/// Ticks that are received after the VM goes on, so that a late silence counts too.
const LAST_TICKS: Duration = Duration::from_secs(1);

/// A migration that has brought the VM to the other host.
#[derive(Debug)]
pub struct Hop {
    /// How it migrated.
    pub mode: Mode,
    /// What was seen while it did.
    pub watch: Watch,
    /// How it ended.
    pub ended: Ended,
    /// What the links have carried for it.
    pub links: LinkBytes,
    /// The comparison of both sides' RAM; `None` where the VM ran before all of it was there.
    pub identity: Option<Identity>,
    /// When the guest's first tick came at the destination.
    pub ran_there: Option<Instant>,
    /// The silence of the guest, without the time in which it was paused to be compared.
    pub interruption: Option<Interruption>,
    /// In which the VM was compared.
    pub pause: Pause,
    /// Versions of QEMU at source and destination.
    pub qemu: [String; 2],
}

/// Where the VM is after an attempt to migrate it.
#[derive(Debug)]
pub enum Attempt {
    /// At the other host.
    Arrived(Box<Hop>),
    /// Where it was; with the QEMU that waited for it.
    Stayed(Ended, Box<Machine>),
}

impl Laboratory {
    /// Migrates the VM, compares the RAM of both sides (but see [`Mode::is_compared`]), and lets it run on at the other
    /// host. Files that the migration writes go to `folder`.
    ///
    /// # Errors
    /// The migration does not complete, or the VM does not run on. RAM that differs is no error here but in the result.
    pub fn hop(&mut self, mode: Mode, folder: &Path) -> Result<Hop> {
        match self.attempt(mode, folder, &mut Migration::plain())? {
            Attempt::Arrived(hop) => Ok(*hop),
            Attempt::Stayed(ended, _) => {
                bail!("the migration {}: {}", ended.status, ended.reason.as_deref().unwrap_or("?"))
            }
        }
    }

    /// Tries to migrate the VM while `migration` injects its fault.
    ///
    /// # Errors
    /// The VM runs at neither host afterwards, or what `migration` returns.
    pub fn attempt(
        &mut self,
        mode: Mode,
        folder: &Path,
        migration: &mut Migration<'_>,
    ) -> Result<Attempt> {
        let mut destination = step("the destination waits", || self.destination(mode))?;
        let arrival = self.guest.expect_at(&destination.port())?;
        baseline::prepare(mode, &mut self.machine, &mut destination)?;
        if mode.is_poolferry() {
            // The driver wants the port.
            self.gauge_off();
        }
        let mut watch = Watch::begin(&mut self.machine, &destination)?;
        if mode == Mode::ColdPool {
            // Part of the migration: nobody is served meanwhile.
            self.empty_pool()?;
        }
        let ended = step(&format!("migration ({})", mode.name()), || match mode {
            mode if mode.is_poolferry() => migration::migrate(
                self,
                mode,
                &mut destination,
                &mut watch,
                folder,
                LIMIT,
                migration,
            ),
            _ => {
                let (source, destination) = (&mut self.machine, &mut destination);
                baseline::migrate(mode, source, destination, &mut watch, LIMIT)
            }
        })?;
        self.gauge_off();
        if ended.status != "completed" {
            self.wait_for_tick(ended.at).context("the VM does not run on at the source")?;
            return Ok(Attempt::Stayed(ended, Box::new(destination)));
        }
        watch::arrives(&mut destination, mode.is_compared())?;
        let links = watch.links()?;
        migration.arrived(&mut self.machine, &mut destination)?;
        let compare = || identity::compare(&mut self.machine, &mut destination);
        let identity = mode
            .is_compared()
            .then(|| step("RAM of both sides is compared", compare))
            .transpose()?;
        let qemu = [version(&mut self.machine)?, version(&mut destination)?];
        self.guest.arrived(arrival);
        let mut resumed = ended.at;
        if mode.is_compared() {
            resumed = Instant::now();
            destination.monitor().execute("cont", json!({}))?;
        }
        // The source goes, as after any migration.
        drop(std::mem::replace(&mut self.machine, destination));
        self.wait_for_tick(resumed).context("the VM does not run on at the destination")?;
        wait::pause(LAST_TICKS)?;
        let pause = Pause { from: ended.at, to: resumed };
        Ok(Attempt::Arrived(Box::new(Hop {
            mode,
            interruption: self.interruption(watch.begun().0, pause),
            ran_there: self.first_tick_of_the_last_qemu(),
            watch,
            ended,
            links,
            identity,
            pause,
            qemu,
        })))
    }

    /// The longest silence since `begun`, without the pause.
    fn interruption(&mut self, begun: Instant, pause: Pause) -> Option<Interruption> {
        let received = |(at, tick): &(Instant, Tick)| (pause.taken_out(*at), *tick);
        let ticks: Vec<_> = self.guest.ticks().iter().map(received).collect();
        Interruption::between(&ticks, begun, Instant::now())
    }

    fn first_tick_of_the_last_qemu(&mut self) -> Option<Instant> {
        let ticks = self.guest.ticks();
        let last = ticks.iter().map(|(_, tick)| tick.qemu).max()?;
        ticks.iter().find(|(_, tick)| tick.qemu == last).map(|(at, _)| *at)
    }

    fn wait_for_tick(&mut self, since: Instant) -> Result<()> {
        wait::until("a tick of the guest", Duration::from_secs(60), || {
            Ok(self.guest.ticks().last().is_some_and(|(at, _)| *at > since).then_some(()))
        })
    }
}

/// `MAJOR.MINOR.MICRO`.
fn version(machine: &mut Machine) -> Result<String> {
    let answer = machine.monitor().execute("query-version", json!({}))?;
    let number = |name: &str| answer["qemu"][name].as_u64().unwrap_or(0);
    Ok(format!("{}.{}.{}", number("major"), number("minor"), number("micro")))
}
