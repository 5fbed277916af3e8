//! From what was measured to `report.json`.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use foreign::Text;
use migration_record::{
    GuestSystem, Links, Machine, MigrationStatus, QemuVersions, RamIdentity, Report, Sample, Tps,
};
use qemu_glue::agent::{self, Reading};

use crate::hop::Hop;
use crate::mode::Mode;
use crate::rate::Rate;
use crate::setup::Setup;
use crate::storage::Kind;
use crate::transactions;
use crate::workload::GuestSecond;

/// What the load has reported from before a migration to after it.
#[derive(Debug, Default)]
pub struct LoadRecord {
    /// What sysbench has reported.
    pub seconds: Vec<GuestSecond>,
    /// What the probes in the guest have said.
    pub readings: Vec<Reading>,
}

/// The record of a hop, with what was `received` of the load. For one of Poolferry's, its own record in `folder` is taken, and what it cannot know or what the
/// laboratory knows better (the links, the guest, the proof) is put in.
///
/// # Errors
/// Poolferry has written no record.
pub fn record(
    hop: &Hop,
    received: &LoadRecord,
    setup: &Setup,
    system: GuestSystem,
    run: u32,
    folder: &Path,
) -> Result<Report> {
    let mut report = match hop.mode {
        mode if mode.is_poolferry() => {
            migration_record::read(&folder.join(migration_record::JSON))?
        }
        _ => Report::default(),
    };
    let (_, begun_at) = hop.watch.begun();
    let figure = |key: &str| hop.ended.statistics[key].as_f64().unwrap_or(0.0);
    let total_s = figure("total-time") / 1000.0;
    // QEMU counts from the command on; the end is what was seen.
    let end_s = hop.ended.at.saturating_duration_since(hop.watch.begun().0).as_secs_f64();
    let before_s = (end_s - total_s).max(0.0);
    report.mode = hop.mode.name().into();
    report.workload = setup.workload.name().into();
    report.run = Some(run);
    report.status = MigrationStatus::Completed;
    report.memory_bytes = setup.memory.bytes();
    report.pool_bytes = Some(setup.pool.bytes());
    report.guest_system = system;
    report.links = links(setup);
    let [source, destination] = hop.qemu.clone();
    report.qemu = QemuVersions { source: source.into(), destination: destination.into() };
    report.machine = machine(setup);
    report.total_time_s = total_s;
    report.command_s = Some(end_s);
    report.downtime_ms = figure("downtime");
    report.interruption_ms = hop.interruption.map(|found| found.received.as_secs_f64() * 1000.0);
    report.network_bytes = hop.links.network;
    report.dirty_syncs = hop.ended.statistics["ram"]["dirty-sync-count"].as_u64().unwrap_or(0);
    report.ram_identity = hop.identity.as_ref().map(|identity| RamIdentity {
        compared_bytes: identity.compared_bytes,
        differing_bytes: identity.differing_bytes,
    });
    if hop.identity.is_none() {
        let why = "RAM was not compared: the VM ran at the destination before all of it was there.";
        report.warnings.push(why.into());
    }
    if !hop.mode.is_poolferry() {
        let unix = begun_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        report.begun_unix_s = unix.as_secs_f64() + before_s;
        report.migration = format!("{}-{run}", hop.mode.name()).into();
        report.storage_bytes = 0;
        report.samples = samples(hop, before_s);
    }
    report.tps = tps(hop, &received.seconds, before_s);
    guest(&mut report, hop, &received.readings, before_s);
    if let Some(found) = hop.interruption {
        report.warnings.push(Text::from(format!(
            "Longest gap between two ticks by the guest's own clock: {:.0} ms.",
            found.by_guest.as_secs_f64() * 1000.0
        )));
    }
    if setup.storage == Kind::Nbd {
        report.warnings.push(Text::from(format!(
            "The destination received {} bytes on its storage link meanwhile.",
            hop.links.storage
        )));
    }
    Ok(report)
}

/// Whether a record is of the same VM, load and links, on this machine.
pub(crate) fn is_of(report: &Report, setup: &Setup) -> bool {
    report.workload == setup.workload.name()
        && report.memory_bytes == setup.memory.bytes()
        && report.pool_bytes == Some(setup.pool.bytes())
        && report.guest_system.server.raw().starts_with(setup.server.family())
        && report.links == links(setup)
        && report.machine == machine(setup)
}

/// The record of a migration that did not complete.
pub(crate) fn failure(
    setup: &Setup,
    guest_system: GuestSystem,
    mode: Mode,
    run: u32,
    error: &anyhow::Error,
) -> Report {
    Report {
        mode: mode.name().into(),
        workload: setup.workload.name().into(),
        run: Some(run),
        status: MigrationStatus::Failed,
        reason: Some(format!("{error:#}").into()),
        memory_bytes: setup.memory.bytes(),
        pool_bytes: Some(setup.pool.bytes()),
        guest_system,
        links: links(setup),
        machine: machine(setup),
        ..Report::default()
    }
}

fn links(setup: &Setup) -> Links {
    let storage = if setup.storage == Kind::Nbd { setup.storage_rate } else { Rate::UNLIMITED };
    Links {
        network_bits_per_s: setup.network_rate.bits_per_second(),
        storage_bits_per_s: storage.bits_per_second(),
    }
}

/// RAM of this machine in bytes (Linux: `MemTotal` in `/proc/meminfo`, in KiB); `None` where the kernel does not report it.
pub(crate) fn machine_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

fn machine(setup: &Setup) -> Machine {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, key: &str| -> String {
        let line = text.lines().find(|line| line.starts_with(key));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    Machine {
        processor: value(&text("/proc/cpuinfo"), "model name").into(),
        cpus: std::thread::available_parallelism()
            .map_or(0, |n| u32::try_from(n.get()).unwrap_or(0)),
        memory_bytes: machine_memory().unwrap_or(0),
        kernel: text("/proc/sys/kernel/osrelease").trim().into(),
        accelerator: setup.accel.name().into(),
        vcpus: setup.vcpus,
    }
}

fn samples(hop: &Hop, before_s: f64) -> Vec<Sample> {
    let looks = hop.watch.looks().iter();
    #[expect(clippy::cast_precision_loss, reason = "pages per second, far below 2^53")]
    let sample = |look: &crate::watch::Look| Sample {
        at_s: look.at.as_secs_f64() - before_s,
        remaining_bytes: look.remaining,
        network_bytes: look.links.network,
        dirty_pages_per_s: Some(look.dirty_pages_per_s as f64),
        ..Sample::default()
    };
    looks.map(sample).filter(|sample| sample.at_s >= 0.0).collect()
}

/// Puts what the laboratory received before and after around what the driver received on the way.
fn guest(report: &mut Report, hop: &Hop, readings: &[Reading], before_s: f64) {
    let (begun, _) = hop.watch.begun();
    let zero = begun + Duration::try_from_secs_f64(before_s).unwrap_or_default();
    let (before, mut after): (Vec<_>, Vec<_>) =
        readings.iter().cloned().partition(|reading| reading.at <= hop.ended.at);
    after.iter_mut().for_each(|reading| reading.at = hop.pause.taken_out(reading.at));
    let on_the_way = std::mem::take(&mut report.guest);
    report.guest = agent::seconds(&before, zero);
    report.guest.extend(on_the_way);
    report.guest.extend(agent::seconds(&after, zero));
    let commits = |reading: &Reading| {
        Some((agent::seconds_from(zero, reading.at), reading.observed.commits.as_ref()?.count))
    };
    let counted: Vec<_> = before.iter().chain(&after).filter_map(commits).collect();
    // A server that was restarted counts anew.
    report.transactions =
        if hop.mode == Mode::ColdPool { None } else { transactions::count(&report.tps, &counted) };
}

fn tps(hop: &Hop, seconds: &[GuestSecond], before_s: f64) -> Vec<Tps> {
    let (begun, _) = hop.watch.begun();
    let second = |second: &GuestSecond| Tps {
        at_s: agent::seconds_from(begun, hop.pause.taken_out(second.at)) - before_s,
        tps: second.tps,
        latency_ms: Some(second.latency_ms),
    };
    seconds.iter().map(second).collect()
}
