//! A migration as QEMU and the links show it, whoever drives it.

use std::process::ExitStatus;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::network::{Carried, MIGRATION, STORAGE};
use crate::vm::Machine;
use crate::wait;

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(100);

/// The migration at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// Since the watch began.
    pub at: Duration,
    /// RAM that QEMU has still to send, in bytes.
    pub remaining: u64,
    /// Pages that the guest wrote per second.
    pub dirty_pages_per_s: u64,
    /// What the links have carried since the watch began.
    pub links: LinkBytes,
}

/// Bytes on the links.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkBytes {
    /// Received by the destination on the migration link.
    pub network: u64,
    /// Received by the destination on its storage link.
    pub storage: u64,
}

/// How a migration ended.
#[derive(Debug)]
pub struct Ended {
    /// `completed`, `failed`, `cancelled`; `not-begun` where QEMU never got `migrate`, `abandoned` where nobody waited.
    pub status: String,
    /// Why, where QEMU reports it.
    pub reason: Option<String>,
    /// `query-migrate` at the end.
    pub statistics: Value,
    /// When its end was seen.
    pub at: Instant,
    /// How `poolferry-host migrate` ended, where it has driven one that completed or was cancelled.
    pub driver: Option<ExitStatus>,
}

impl Ended {
    /// Nobody waits for its end.
    pub(crate) fn abandoned() -> Self {
        Self::new("abandoned".to_owned(), None, Value::Null)
    }

    /// QEMU never got `migrate`, for this `reason`.
    pub(crate) fn not_begun(reason: String) -> Self {
        Self::new("not-begun".to_owned(), Some(reason), Value::Null)
    }

    fn new(status: String, reason: Option<String>, statistics: Value) -> Self {
        Self { status, reason, statistics, at: Instant::now(), driver: None }
    }
}

/// Looks at a migration while it goes on.
#[derive(Debug)]
pub struct Watch {
    begun: Instant,
    begun_at: SystemTime,
    destination: u32,
    before: LinkBytes,
    last: Option<Instant>,
    /// What QEMU at the source reports of an earlier migration: that brought the VM here, that failed, or that goes on without
    /// anybody to drive it. `None` once the one that is watched has begun.
    old: Option<Value>,
    looks: Vec<Look>,
}

impl Watch {
    /// Begins to count what the links of `destination` carry, before anything is asked of `source`.
    ///
    /// # Errors
    /// One of them is gone.
    pub fn begin(source: &mut Machine, destination: &Machine) -> Result<Self> {
        let old = source.monitor().execute("query-migrate", json!({}))?;
        Ok(Self {
            old: Some(old),
            begun: Instant::now(),
            begun_at: SystemTime::now(),
            destination: destination.pid(),
            before: links(destination.pid())?,
            last: None,
            looks: Vec::new(),
        })
    }

    /// Looks, if it is time for it; gives the end of the migration once there is one.
    ///
    /// # Errors
    /// QEMU at the source is gone.
    pub fn look(&mut self, source: &mut Machine) -> Result<Option<Ended>> {
        if self.last.is_some_and(|last| last.elapsed() < EVERY) {
            return Ok(None);
        }
        self.last = Some(Instant::now());
        let statistics = source.monitor().execute("query-migrate", json!({}))?;
        let number = |key: &str| statistics["ram"][key].as_u64().unwrap_or(0);
        // The destination may be gone where that is what is being tried.
        let links = links(self.destination).unwrap_or(self.before);
        self.looks.push(Look {
            at: self.begun.elapsed(),
            remaining: number("remaining"),
            dirty_pages_per_s: number("dirty-pages-rate"),
            links: LinkBytes {
                network: links.network.saturating_sub(self.before.network),
                storage: links.storage.saturating_sub(self.before.storage),
            },
        });
        if let Some(old) = &self.old {
            let still_old = if goes_on(old) {
                !goes_on(&statistics) || time(&statistics) >= time(old)
            } else {
                statistics == *old
            };
            self.old = still_old.then(|| statistics.clone());
            if still_old {
                return Ok(None);
            }
        }
        let status = statistics["status"].as_str().unwrap_or("none").to_owned();
        match status.as_str() {
            // 7.2 may say so a moment before it knows how long it took.
            "completed" if statistics["total-time"].as_u64() == Some(0) => Ok(None),
            "completed" | "failed" | "cancelled" => {
                let reason = statistics["error-desc"].as_str().map(str::to_owned);
                Ok(Some(Ended::new(status, reason, statistics)))
            }
            _ => Ok(None),
        }
    }

    /// Looks until the migration has ended.
    ///
    /// # Errors
    /// It does not within `limit`, or QEMU at the source is gone.
    pub fn to_end(&mut self, source: &mut Machine, limit: Duration) -> Result<Ended> {
        wait::until("the end of the migration", limit, || self.look(source))
    }

    /// Whether QEMU has begun to migrate.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.old.is_none()
    }

    /// When the watch began.
    #[must_use]
    pub fn begun(&self) -> (Instant, SystemTime) {
        (self.begun, self.begun_at)
    }

    /// All looks.
    #[must_use]
    pub fn looks(&self) -> &[Look] {
        &self.looks
    }

    /// What the links have carried in all until now.
    ///
    /// # Errors
    /// The destination is gone.
    pub fn links(&self) -> Result<LinkBytes> {
        let now = links(self.destination)?;
        Ok(LinkBytes {
            network: now.network.saturating_sub(self.before.network),
            storage: now.storage.saturating_sub(self.before.storage),
        })
    }
}

/// Whether this answer of `query-migrate` is of a migration that has not ended.
fn goes_on(statistics: &Value) -> bool {
    let status = statistics["status"].as_str().unwrap_or("none");
    !matches!(status, "none" | "completed" | "failed" | "cancelled")
}

/// Milliseconds since the migration began.
fn time(statistics: &Value) -> u64 {
    statistics["total-time"].as_u64().unwrap_or(0)
}

fn links(pid: u32) -> Result<LinkBytes> {
    let carried = Carried::now(pid)?;
    Ok(LinkBytes { network: carried.received(MIGRATION), storage: carried.received(STORAGE) })
}

/// Waits until the destination has all of the VM, and holds it paused or, if it is not `held`, runs it.
///
/// # Errors
/// It does not get there.
pub fn arrives(destination: &mut Machine, held: bool) -> Result<()> {
    wait::until("the VM at the destination", Duration::from_secs(60), || {
        destination.process().still_runs()?;
        let state = destination.monitor().run_state()?;
        match state.as_str() {
            "paused" | "prelaunch" if held => Ok(Some(())),
            "running" if !held => Ok(Some(())),
            "inmigrate" | "postmigrate" | "finish-migrate" => Ok(None),
            other if held => bail!("the destination is `{other}`, not paused"),
            other => bail!("the destination is `{other}`, not running"),
        }
    })
    .context("the VM has left the source but is not at the destination")
}
