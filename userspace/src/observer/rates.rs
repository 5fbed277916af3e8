//! From counters since attach to rates since the last snapshot.

use std::time::Instant;

use probe_abi::{Histogram, PROBES, Probe, ProbeCounters};

use crate::model::{Latency, ProbeRow, Rates};
use crate::probes::{Probes, ProbesError};

/// Remembers the last counters.
#[derive(Default)]
pub(super) struct RateMeter {
    at: Option<Instant>,
    counters: [ProbeCounters; PROBES],
    queries: Histogram,
    commits: Histogram,
}

/// What happened since the last time.
pub(super) struct Advance {
    pub(super) rows: Vec<ProbeRow>,
    pub(super) rates: Rates,
    pub(super) queries: Latency,
    pub(super) commits: Latency,
}

#[expect(clippy::cast_precision_loss, reason = "rates, for showing")]
fn rate(now: u64, before: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { now.saturating_sub(before) as f64 / seconds } else { 0.0 }
}

/// Reads that brought a page.
const fn reads(counters: &[ProbeCounters; PROBES]) -> u64 {
    let failed = counters[Probe::ReadFailed as usize].hits;
    counters[Probe::Read as usize].hits.saturating_sub(failed)
}

impl RateMeter {
    /// Reads the counters and returns what is new.
    pub(super) fn advance(&mut self, probes: &Probes) -> Result<Advance, ProbesError> {
        let now = Instant::now();
        let seconds = self.at.map_or(0.0, |at| (now - at).as_secs_f64());
        let counters = probes.counters()?;
        let (queries, commits) = (probes.latency(Probe::Query)?, probes.latency(Probe::Commit)?);
        let per_second = |probe: Probe| {
            let index = probe as usize;
            rate(counters[index].hits, self.counters[index].hits, seconds)
        };
        let rows = Probe::ALL
            .iter()
            .map(|&probe| {
                let sum = counters[probe as usize];
                ProbeRow {
                    name: probe.name().to_owned(),
                    hits: sum.hits,
                    rate: per_second(probe),
                    ring_lost: sum.ring_lost,
                    foreign: sum.foreign,
                    faults: sum.faults,
                }
            })
            .collect();
        let advance = Advance {
            rows,
            rates: Rates {
                reads: rate(reads(&counters), reads(&self.counters), seconds),
                writes: per_second(Probe::Written),
                evictions: per_second(Probe::Evicted),
                dirtied: per_second(Probe::Dirty),
                freed: per_second(Probe::Freed),
            },
            queries: latency(&queries, &self.queries, seconds),
            commits: latency(&commits, &self.commits, seconds),
        };
        *self = Self { at: Some(now), counters, queries, commits };
        Ok(advance)
    }
}

/// Quantiles of what came since `before`, totals since attach.
#[expect(clippy::cast_precision_loss, reason = "a mean, for showing")]
fn latency(now: &Histogram, before: &Histogram, seconds: f64) -> Latency {
    let new: Vec<u64> =
        now.buckets.iter().zip(before.buckets).map(|(a, b)| a.saturating_sub(b)).collect();
    let count = now.count.saturating_sub(before.count);
    let sum = now.sum_ns.saturating_sub(before.sum_ns);
    Latency {
        rate: rate(now.count, before.count, seconds),
        mean_ns: if count > 0 { sum as f64 / count as f64 } else { 0.0 },
        p50_ns: quantile(&new, count, 50),
        p95_ns: quantile(&new, count, 95),
        p99_ns: quantile(&new, count, 99),
        buckets: now.buckets.to_vec(),
        count: now.count,
        sum_ns: now.sum_ns,
    }
}

/// Upper bound of the bucket that holds the given percentile.
fn quantile(buckets: &[u64], count: u64, percent: u64) -> u64 {
    let wanted = (count * percent).div_ceil(100);
    let mut seen = 0;
    for (power, bucket) in buckets.iter().enumerate() {
        seen += bucket;
        if wanted > 0 && seen >= wanted {
            return 2 << power;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_upper_bounds_of_buckets() {
        let mut buckets = vec![0; 40];
        buckets[10] = 90;
        buckets[20] = 9;
        buckets[30] = 1;
        assert_eq!(quantile(&buckets, 100, 50), 2 << 10);
        assert_eq!(quantile(&buckets, 100, 95), 2 << 20);
        assert_eq!(quantile(&buckets, 100, 99), 2 << 20);
        assert_eq!(quantile(&buckets, 100, 100), 2 << 30);
        assert_eq!(quantile(&[0; 40], 0, 50), 0);
    }
}
