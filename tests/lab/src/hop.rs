//! One migration of the VM to the other host, with its proof.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::identity::{self, Identity};
use crate::interruption::Interruption;
use crate::laboratory::Laboratory;
use crate::steps::step;
use crate::watch::{self, Ended, Links, Watch};
use crate::workload::{self, Second};
use crate::{ferry, stock, wait};

/// A migration ends within this time, whatever the link.
const LIMIT: Duration = Duration::from_secs(1800);

/// How a VM migrates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// By QEMU alone
    Stock,
    /// With the buffer pool left behind
    Poolferry,
}

impl Mode {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Poolferry => "poolferry",
        }
    }
}

/// What was measured.
#[derive(Debug)]
pub struct Hop {
    /// How it migrated.
    pub mode: Mode,
    /// What was seen while it did.
    pub watch: Watch,
    /// How it ended.
    pub ended: Ended,
    /// What the links have carried for it.
    pub links: Links,
    /// The comparison of both sides' RAM.
    pub identity: Identity,
    /// The silence of the guest, without the time in which it was paused to be compared.
    pub interruption: Option<Interruption>,
    /// What the load reported.
    pub seconds: Vec<Second>,
    /// Versions of QEMU at source and destination.
    pub qemu: [String; 2],
}

impl Laboratory {
    /// Migrates the VM, compares the RAM of both sides, and lets it run on at the other host.
    ///
    /// `folder` is for the files that the migration writes; `after` is how long the load goes on before this returns.
    ///
    /// # Errors
    /// The migration does not complete, or the VM does not run on. RAM that differs is no error here but in the result.
    pub fn hop(&mut self, mode: Mode, folder: &Path, after: Duration) -> Result<Hop> {
        let mut destination = step("the destination waits", || self.destination())?;
        let arrival = self.guest.expect_at(&destination.port())?;
        let mut watch = Watch::begin(&destination)?;
        let ended = step(&format!("migration ({})", mode.name()), || match mode {
            Mode::Stock => stock::migrate(&mut self.machine, &mut destination, &mut watch, LIMIT),
            Mode::Poolferry => ferry::migrate(self, &mut destination, &mut watch, folder, LIMIT),
        })?;
        if ended.status != "completed" {
            bail!(
                "the migration {}: {}",
                ended.status,
                ended.reason.as_deref().unwrap_or("no reason")
            );
        }
        watch::arrives(&mut destination)?;
        let links = watch.links()?;
        let identity = step("RAM of both sides is compared", || {
            identity::compare(&mut self.machine, &mut destination)
        })?;
        let qemu = [version(&mut self.machine)?, version(&mut destination)?];
        self.guest.arrived(arrival);
        let resumed = Instant::now();
        destination.monitor().execute("cont", json!({}))?;
        self.wait_for_tick(resumed).context("the VM does not run on at the destination")?;
        // The source goes, as after any migration.
        drop(std::mem::replace(&mut self.machine, destination));
        step("the load goes on", || wait::pause(after))?;
        let (begun, _) = watch.begun();
        let paused = resumed.saturating_duration_since(ended.at);
        let ticks = self.guest.ticks();
        let interruption = Interruption::between(ticks, begun, Instant::now())
            .map(|found| Interruption { heard: found.heard.saturating_sub(paused), ..found });
        let seconds = workload::seconds(&mut self.guest);
        Ok(Hop { mode, watch, ended, links, identity, interruption, seconds, qemu })
    }

    fn wait_for_tick(&mut self, since: Instant) -> Result<()> {
        wait::until("a tick of the guest", Duration::from_secs(60), || {
            Ok(self.guest.ticks().last().is_some_and(|(at, _)| *at > since).then_some(()))
        })
    }
}

/// `MAJOR.MINOR.MICRO`.
fn version(machine: &mut crate::vm::Machine) -> Result<String> {
    let answer = machine.monitor().execute("query-version", json!({}))?;
    let number = |name: &str| answer["qemu"][name].as_u64().unwrap_or(0);
    Ok(format!("{}.{}.{}", number("major"), number("minor"), number("micro")))
}
