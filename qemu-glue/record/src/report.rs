//! The record of one migration: the keys of `report.json`.
//!
//! Times named `_s` inside the record count from the moment at which QEMU took the `migrate` command
//! at the source; what came before is negative. The doc comments are the documentation of the keys
//! (`poolferry-host report --keys`, `docs/report.md`).

use std::collections::BTreeMap;

use foreign::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::series::{self, GuestSecond, MigrationPhase, Sample, Sync, Tps, Transactions};
use crate::side::{MAX_STEPS, Sides};

/// Version of the keys. It changes when one of them goes away or changes its meaning.
pub const SCHEMA: u32 = 2;
/// Most elements of each list over time that are read: three days of one a second. Of samples, half as many are
/// written, which is four hours of ten a second before they are thinned.
pub(crate) const MAX_MOMENTS: usize = 1 << 18;
/// Most reasons, and most steps of a page list.
pub(crate) const MAX_KEYS: usize = 1 << 10;

/// What one migration did.
///
/// Every key is always written; what was not measured is `null`, or empty where it is a list or a
/// map. A reader takes a missing key for that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Report {
    /// Version of these keys: 2. Readers take 1 too.
    pub schema: u32,
    /// Name of the migration, the same at both hosts.
    pub migration: Text,
    /// Unix time of the `migrate` command, in seconds.
    pub begun_unix_s: f64,
    /// How it was done: `stock`, `poolferry`, or the name of another baseline.
    pub mode: Text,
    /// What ran in the VM: `idle`, `ro` (read only), `rw` (read and write), `unknown`.
    pub workload: Text,
    /// Number of the run in a series, from 1.
    pub run: Option<u32>,
    /// How it ended.
    pub status: MigrationStatus,
    /// Why, where it did not complete.
    pub reason: Option<Text>,
    /// RAM of the VM in bytes.
    pub memory_bytes: u64,
    /// Size of the buffer pool in bytes.
    pub pool_bytes: Option<u64>,
    /// What ran in the VM; empty where it is not known.
    pub guest_system: GuestSystem,
    /// Speed to which the links were shaped.
    pub links: Links,
    /// Versions of the hypervisors.
    pub qemu: QemuVersions,
    /// Where it ran.
    pub machine: Machine,
    /// From the `migrate` command to the end of the migration in seconds, as QEMU reports it
    /// (`query-migrate`: `total-time`).
    pub total_time_s: f64,
    /// From the wish to migrate to the end of the migration in seconds, on a clock outside of QEMU: with the list, the checks and
    /// whatever else comes before the `migrate` command. `null`: nobody looked at a clock.
    pub command_s: Option<f64>,
    /// How long the VM ran on neither side in milliseconds, as QEMU reports it (`query-migrate`:
    /// `downtime`).
    pub downtime_ms: f64,
    /// Longest gap in the service by the guest's own clock around the switchover, in milliseconds.
    pub interruption_ms: Option<f64>,
    /// All bytes on the migration link, hashes and requests of Poolferry among them.
    pub network_bytes: u64,
    /// Bytes of Poolferry's own channel, which are part of `network_bytes`.
    pub channel_bytes: u64,
    /// Bytes that the destination read from storage for the restore.
    pub storage_bytes: u64,
    /// Pages of 4 KiB by what became of them.
    pub pages: Pages,
    /// Pages that were re-dirtied by reason: `differs`, `read-failed`, `install-failed`,
    /// `too-late`, `written`, `sooner-by-network`, `not-read`, `unconfirmed`, ... Their sum is `pages.redirtied`. `given_back_by_reason` in schema 1.
    #[serde(deserialize_with = "bounded::members::<MAX_KEYS, _, _, _>")]
    #[serde(alias = "given_back_by_reason")]
    pub redirtied_by_reason: BTreeMap<Text, u64>,
    /// The comparison of both sides' RAM while both VMs were paused. `null`: not made.
    pub ram_identity: Option<RamIdentity>,
    /// Making the page list, in seconds by step. In the guest: `sync`, `refresh`, `scan`,
    /// `translate`, `locate`, `merge`, `pin`, `encode`, `hash`, `frames`; at the host: `transfer`,
    /// `verify`. `total` is from the request to the host having read the list; it is less than the
    /// sum where steps ran side by side.
    #[serde(deserialize_with = "bounded::members::<MAX_KEYS, _, _, _>")]
    pub list_s: BTreeMap<Text, f64>,
    /// How often QEMU synchronised its dirty bitmap (`query-migrate`: `dirty-sync-count`). QEMU 11.1
    /// leaves out the last time, while the VM stands still; earlier ones count it.
    pub dirty_syncs: u64,
    /// The migration sampled over time.
    #[serde(deserialize_with = "bounded::all::<MAX_MOMENTS, _, _>")]
    pub samples: Vec<Sample>,
    /// Steps of the migration, one after the other.
    #[serde(deserialize_with = "bounded::all::<MAX_STEPS, _, _>")]
    pub phases: Vec<MigrationPhase>,
    /// Bitmap syncs as the library in QEMU saw them.
    #[serde(deserialize_with = "bounded::all::<MAX_STEPS, _, _>")]
    pub syncs: Vec<Sync>,
    /// Transactions of the workload, second by second, from before the migration to after it.
    #[serde(deserialize_with = "bounded::all::<MAX_MOMENTS, _, _>")]
    pub tps: Vec<Tps>,
    /// The same transactions, counted by the probes too; `null` without a load or without probes.
    pub transactions: Option<Transactions>,
    /// What the probes in the guest saw over time.
    #[serde(deserialize_with = "bounded::all::<MAX_MOMENTS, _, _>")]
    pub guest: Vec<GuestSecond>,
    /// What probes on the functions of both QEMUs saw.
    pub probes: Sides,
    /// What Poolferry itself used.
    pub costs: Costs,
    /// What else a reader should know, in sentences. `remarks` in schema 1.
    #[serde(alias = "remarks")]
    #[serde(deserialize_with = "bounded::all::<MAX_STEPS, _, _>")]
    pub warnings: Vec<Text>,
}

impl Report {
    /// Appends a sample; from many, every other one is left out first.
    pub fn sampled(&mut self, sample: Sample) {
        if self.samples.len() >= MAX_MOMENTS / 2 {
            series::thin(&mut self.samples);
        }
        self.samples.push(sample);
    }
}

impl Default for Report {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            migration: Text::default(),
            begun_unix_s: 0.0,
            mode: Text::default(),
            workload: "unknown".into(),
            run: None,
            status: MigrationStatus::default(),
            reason: None,
            memory_bytes: 0,
            pool_bytes: None,
            guest_system: GuestSystem::default(),
            links: Links::default(),
            qemu: QemuVersions::default(),
            machine: Machine::default(),
            total_time_s: 0.0,
            command_s: None,
            downtime_ms: 0.0,
            interruption_ms: None,
            network_bytes: 0,
            channel_bytes: 0,
            storage_bytes: 0,
            pages: Pages::default(),
            redirtied_by_reason: BTreeMap::new(),
            ram_identity: None,
            list_s: BTreeMap::new(),
            dirty_syncs: 0,
            samples: Vec::new(),
            phases: Vec::new(),
            syncs: Vec::new(),
            tps: Vec::new(),
            transactions: None,
            guest: Vec::new(),
            probes: Sides::default(),
            costs: Costs::default(),
            warnings: Vec::new(),
        }
    }
}

impl Pages {
    /// Size of one of these pages.
    pub const BYTES: u64 = page_number::PAGE_BYTES;
}

/// How a migration ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MigrationStatus {
    /// The VM runs at the destination.
    Completed,
    /// It failed; the VM runs on at the source.
    #[default]
    Failed,
    /// Somebody ended it; the VM runs on at the source.
    Cancelled,
}

/// Server and kernel of the VM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GuestSystem {
    /// The server, with its version as it reports it: `MySQL 5.6.24`, `MariaDB 10.11.18-MariaDB-0+deb12u1`.
    pub server: Text,
    /// Release of its kernel (`uname -r`).
    pub kernel: Text,
}

/// Speed of the links; `null` is not shaped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Links {
    /// Migration link, bits per second.
    pub network_bits_per_s: Option<u64>,
    /// Storage link, bits per second.
    pub storage_bits_per_s: Option<u64>,
}

/// Versions as `query-version` reports them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct QemuVersions {
    /// At the source.
    pub source: Text,
    /// At the destination.
    pub destination: Text,
}

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Machine {
    /// Name of its processor.
    pub processor: Text,
    /// Number of CPUs.
    pub cpus: u32,
    /// Its RAM in bytes.
    pub memory_bytes: u64,
    /// Release of its kernel.
    pub kernel: Text,
    /// What ran the guest's code: `kvm`, `tcg`.
    pub accelerator: Text,
    /// Virtual CPUs of the VM.
    pub vcpus: u32,
}

/// Pages of 4 KiB by what became of them; `skipped` = `zero` + `installed` + `already_present` + `redirtied`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Pages {
    /// The guest's list named them.
    pub listed: u64,
    /// QEMU got the hint to leave them out.
    pub skipped: u64,
    /// All zeros, which the destination has without being sent any.
    pub zero: u64,
    /// Read from storage, verified and installed at the destination. `restored` in schema 1.
    #[serde(alias = "restored")]
    pub installed: u64,
    /// Skipped, but QEMU had sent them before the restore came (written meanwhile). `delivered` in schema 1.
    #[serde(alias = "delivered")]
    pub already_present: u64,
    /// Skipped, then re-dirtied: QEMU has sent them. `given_back` in schema 1.
    #[serde(alias = "given_back")]
    pub redirtied: u64,
}

/// RAM of both sides compared byte by byte while both VMs were paused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RamIdentity {
    /// Bytes compared.
    pub compared_bytes: u64,
    /// Bytes that differ: 0, or the migration was wrong.
    pub differing_bytes: u64,
}

/// What Poolferry's two processes used on the hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Costs {
    /// CPU seconds at the source.
    pub source_cpu_s: Option<f64>,
    /// CPU seconds at the destination.
    pub destination_cpu_s: Option<f64>,
    /// Highest resident memory at the source in bytes.
    pub source_peak_bytes: Option<u64>,
    /// Highest resident memory at the destination in bytes.
    pub destination_peak_bytes: Option<u64>,
}
