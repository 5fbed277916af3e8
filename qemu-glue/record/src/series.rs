//! What a record holds over time. All times are in seconds since the `migrate` command.

use foreign::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The migration at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sample {
    /// When.
    pub at_s: f64,
    /// RAM that QEMU has still to send in bytes (`query-migrate`: `ram.remaining`).
    pub remaining_bytes: u64,
    /// Bytes on the migration link since the beginning.
    pub network_bytes: u64,
    /// Bytes read from storage for the restore since the beginning.
    pub storage_bytes: u64,
    /// Rate of the migration link since the sample before, in bytes per second.
    pub network_bytes_per_s: Option<f64>,
    /// Rate of the restore's storage reads since the sample before, in bytes per second.
    pub storage_bytes_per_s: Option<f64>,
    /// Pages that the guest wrote per second (`query-migrate`: `ram.dirty-pages-rate`).
    pub dirty_pages_per_s: Option<f64>,
    /// Skipped pages that are neither installed nor re-dirtied.
    pub outstanding_pages: Option<u64>,
    /// Skipped pages that are installed. `placed_pages` in schema 1.
    #[serde(alias = "placed_pages")]
    pub installed_pages: Option<u64>,
}

/// A step of the migration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MigrationPhase {
    /// Its name: `preflight`, `list`, `negotiation`, `first pass`, `throttle`, `switchover`, ...
    pub name: Text,
    /// When it began.
    pub begin_s: f64,
    /// When it ended; `null`: never, or nobody saw it.
    pub end_s: Option<f64>,
}

/// One synchronisation of QEMU's dirty bitmap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sync {
    /// When it began.
    pub begin_s: f64,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
}

/// The workload in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Tps {
    /// End of the second.
    pub at_s: f64,
    /// Transactions per second.
    pub tps: f64,
    /// 95th percentile of the latency in milliseconds.
    pub latency_ms: Option<f64>,
}

/// The load's transactions from before the migration to after it, by two who counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Transactions {
    /// How long both were looked at.
    pub seconds: f64,
    /// Commits that the probes in the guest counted.
    pub by_probes: u64,
    /// Transactions that the load reported.
    pub by_load: f64,
}

impl Transactions {
    /// What the probes counted too much, as a part of what the load reported; negative: too little.
    #[must_use]
    pub fn apart(&self) -> f64 {
        approximate(self.by_probes) / self.by_load - 1.0
    }
}

/// A second or more of the guest's own clock, as the probes in the guest saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GuestSecond {
    /// Its end.
    pub at_s: f64,
    /// Commits per second; `null`: the agent was not started to look at them.
    pub commits_per_s: Option<f64>,
    /// Client commands per second, likewise.
    pub commands_per_s: Option<f64>,
    /// Mean latency of a command in milliseconds.
    pub command_ms: Option<f64>,
    /// Pages of 4 KiB in the buffer pool that became dirty per second: of the pages that the guest
    /// writes (`samples`: `dirty_pages_per_s`), those of the pool.
    pub dirtied_per_s: f64,
    /// Likewise, written to storage.
    pub written_per_s: f64,
    /// Likewise, read from storage.
    pub read_per_s: f64,
}

/// Leaves every other sample out; the rates of the others are then to be filled in again.
pub(crate) fn thin(samples: &mut Vec<Sample>) {
    let mut odd = false;
    samples.retain(|_| {
        odd = !odd;
        odd
    });
    for sample in samples {
        (sample.network_bytes_per_s, sample.storage_bytes_per_s) = (None, None);
    }
}

/// Fills in the rates that are missing, from the bytes of each sample and the one before it.
pub(crate) fn fill_rates(samples: &mut [Sample]) {
    let mut before = Sample::default();
    for sample in samples {
        let elapsed = sample.at_s - before.at_s;
        if elapsed > 0.0 {
            let rate = |now: u64, then: u64| Some(approximate(now.saturating_sub(then)) / elapsed);
            let network = rate(sample.network_bytes, before.network_bytes);
            let storage = rate(sample.storage_bytes, before.storage_bytes);
            sample.network_bytes_per_s = sample.network_bytes_per_s.or(network);
            sample.storage_bytes_per_s = sample.storage_bytes_per_s.or(storage);
        }
        before = *sample;
    }
}

/// A count as a number to draw and divide; exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "nobody reads the sixteenth digit of a figure")]
#[must_use]
pub const fn approximate(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_come_from_the_bytes_between_two_samples() {
        let at = |at_s, network_bytes| Sample { at_s, network_bytes, ..Sample::default() };
        let mut samples = [at(0.5, 1000), at(0.5, 1200), at(1.0, 1300), at(2.0, 1100)];
        fill_rates(&mut samples);
        let rates = samples.map(|sample| sample.network_bytes_per_s);
        // No time between the first two; bytes that shrink are no rate below zero.
        assert_eq!(rates, [Some(2000.0), None, Some(200.0), Some(0.0)]);
        assert_eq!(samples[2].storage_bytes_per_s, Some(0.0));
    }

    #[test]
    fn a_long_migration_is_sampled_less_often() {
        let mut report = crate::report::Report::default();
        let most = 1 << 17;
        for at in 0..=most {
            let network_bytes_per_s = Some(9.0);
            let at_s = f64::from(at);
            report.sampled(Sample { at_s, network_bytes_per_s, ..Sample::default() });
        }
        let samples = &report.samples;
        assert_eq!(samples.len(), (1 << 16) + 1);
        assert_eq!((samples[1].at_s, samples[1].network_bytes_per_s), (2.0, None));
        assert_eq!(samples.last().unwrap().network_bytes_per_s, Some(9.0));
    }

    #[test]
    fn rates_that_were_measured_stay() {
        let measured = Sample { at_s: 1.0, network_bytes_per_s: Some(7.0), ..Sample::default() };
        let mut samples = [measured];
        fill_rates(&mut samples);
        assert_eq!(samples[0].network_bytes_per_s, Some(7.0));
    }
}
