//! `results.json`: every run of an evaluation, with medians and ratios by cell and mode.

use foreign::Text;
use serde::Serialize;

use super::Dip;
use super::cell::{self, Comparison, STOCK, Way};
use super::limit::Limit;
use migration_record::{
    GuestSystem, Links, Machine, MigrationStatus, Report, SCHEMA, Transactions, approximate,
};

/// An evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Results {
    /// Version of these keys.
    pub schema: u32,
    /// Where it ran.
    pub machine: Machine,
    /// One entry for each mode of each cell.
    pub cells: Vec<ModeResult>,
}

/// One way to migrate a VM under a load over links.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModeResult {
    /// `stock`, `multifd`, ..., `poolferry`.
    pub mode: Text,
    /// `idle`, `ro`, `rw`.
    pub workload: Text,
    /// RAM of the VM in bytes.
    pub memory_bytes: u64,
    /// Its buffer pool in bytes.
    pub pool_bytes: Option<u64>,
    /// What ran in it.
    pub guest_system: GuestSystem,
    /// Speed of the links.
    pub links: Links,
    /// Every run, failed ones too.
    pub runs: Vec<RunResult>,
    /// Medians over those that completed; `null`: none did.
    pub median: Option<Median>,
    /// Seconds that no uncompressed migration of this cell can beat, see `limit`.
    pub limit_s: Option<f64>,
    /// What that was made of.
    pub limit: Option<LimitParts>,
    /// Median of the total time divided by the limit.
    pub total_time_over_limit: Option<f64>,
    /// Median of stock QEMU's total time divided by this one's.
    pub speedup_over_stock: Option<f64>,
}

/// What the limit is made of: bytes, and bytes per second as these runs have shown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LimitParts {
    /// Bytes that stock QEMU sends.
    pub bytes: f64,
    /// Of them, those that storage has too.
    pub eligible_bytes: f64,
    /// Rate of the migration link.
    pub network_bytes_per_s: f64,
    /// Rate of the storage link.
    pub storage_bytes_per_s: f64,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunResult {
    /// Number in its series.
    pub run: Option<u32>,
    /// How it ended.
    pub status: MigrationStatus,
    /// Why, where it did not complete.
    pub reason: Option<Text>,
    /// As in `report.json`, and so on.
    pub total_time_s: f64,
    /// Seconds, with what comes before QEMU's own clock.
    pub command_s: Option<f64>,
    /// Milliseconds.
    pub downtime_ms: f64,
    /// Bytes on the migration link.
    pub network_bytes: u64,
    /// Bytes read from storage.
    pub storage_bytes: u64,
    /// Bytes that differed; `null`: not compared.
    pub differing_bytes: Option<u64>,
    /// What it did to the load.
    pub dip: Option<Dip>,
    /// The load's transactions by the probes and by itself.
    pub transactions: Option<Transactions>,
}

/// Medians.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Median {
    /// Seconds.
    pub total_time_s: f64,
    /// Seconds, over the runs that have it.
    pub command_s: Option<f64>,
    /// Milliseconds.
    pub downtime_ms: f64,
    /// Bytes.
    pub network_bytes: f64,
    /// Bytes.
    pub storage_bytes: f64,
}

impl Results {
    /// Of all these records.
    #[must_use]
    pub fn of(reports: &[Report]) -> Self {
        let machine = reports.first().map(|report| report.machine.clone()).unwrap_or_default();
        let cells = cell::cells(reports);
        let entries = cells.iter().flat_map(|cell| cell.ways.iter().map(|way| entry(cell, way)));
        Self { schema: SCHEMA, machine, cells: entries.collect() }
    }
}

/// The results of one way of a cell.
pub(super) fn entry(cell: &Comparison<'_>, way: &Way<'_>) -> ModeResult {
    let limit = Limit::of(cell);
    let limit_s = limit.map(|limit| limit.seconds());
    let total = |way: &Way<'_>| way.median(|run| run.total_time_s).filter(|time| *time > 0.0);
    let time = total(way);
    let stock = cell.way(STOCK).and_then(total);
    let over = |(one, other): (f64, f64)| one / other;
    ModeResult {
        mode: way.mode.into(),
        workload: cell.workload.into(),
        memory_bytes: cell.memory_bytes,
        pool_bytes: cell.pool_bytes,
        guest_system: cell.system.clone(),
        links: cell.links,
        runs: way.runs.iter().map(|run| one(run)).collect(),
        median: median(way),
        limit_s,
        limit: limit.map(|limit| LimitParts {
            bytes: limit.bytes,
            eligible_bytes: limit.eligible,
            network_bytes_per_s: limit.network,
            storage_bytes_per_s: limit.storage,
        }),
        total_time_over_limit: time.zip(limit_s).map(over),
        speedup_over_stock: stock.zip(time).map(over),
    }
}

fn median(way: &Way<'_>) -> Option<Median> {
    Some(Median {
        total_time_s: way.median(|run| run.total_time_s)?,
        command_s: way.median_of(|run| run.command_s),
        downtime_ms: way.median(|run| run.downtime_ms)?,
        network_bytes: way.median(|run| approximate(run.network_bytes))?,
        storage_bytes: way.median(|run| approximate(run.storage_bytes))?,
    })
}

fn one(run: &Report) -> RunResult {
    RunResult {
        run: run.run,
        status: run.status,
        reason: run.reason.clone(),
        total_time_s: run.total_time_s,
        command_s: run.command_s,
        downtime_ms: run.downtime_ms,
        network_bytes: run.network_bytes,
        storage_bytes: run.storage_bytes,
        differing_bytes: run.ram_identity.map(|identity| identity.differing_bytes),
        dip: Dip::of(run),
        transactions: run.transactions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_record::{Pages, Sample};

    fn report(mode: &str, total_time_s: f64, status: MigrationStatus) -> Report {
        let sample = |at_s: f64| Sample {
            at_s,
            network_bytes: if at_s > 0.0 { 100 } else { 0 },
            storage_bytes: if at_s > 0.0 { 300 } else { 0 },
            ..Sample::default()
        };
        Report {
            mode: mode.into(),
            total_time_s,
            status,
            network_bytes: 40_960,
            pages: Pages { skipped: 9, ..Pages::default() },
            samples: vec![sample(0.0), sample(1.0)],
            ..Report::default()
        }
    }

    #[test]
    fn every_run_is_there_and_medians_are_of_those_that_completed() {
        let reports = [
            report("stock", 400.0, MigrationStatus::Completed),
            report("xbzrle", 0.0, MigrationStatus::Failed),
            report("poolferry", 204.8, MigrationStatus::Completed),
        ];
        let results = Results::of(&reports);
        let [stock, xbzrle, ours] = &results.cells[..] else { panic!("{results:?}") };
        assert_eq!(stock.limit_s, Some(102.4));
        assert_eq!((xbzrle.runs.len(), xbzrle.median), (1, None));
        assert_eq!(ours.total_time_over_limit, Some(2.0));
        assert_eq!(ours.speedup_over_stock, Some(1.953125));
    }
}
