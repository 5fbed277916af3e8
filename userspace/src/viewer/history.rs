//! What the curves show: the newest rates, bounded.

use std::collections::{BTreeMap, VecDeque};

use crate::model::Snapshot;

/// Values kept in one series; as many as the widest curve has cells.
const LENGTH: usize = 240;

/// Probes for which a series is kept.
const PROBES: usize = 64;

/// One rate over time, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Series(VecDeque<f64>);

impl Series {
    fn push(&mut self, value: f64) {
        if self.0.len() == LENGTH {
            self.0.pop_front();
        }
        self.0.push_back(if value.is_finite() { value } else { 0.0 });
    }

    /// The values, oldest first.
    pub(super) fn values(&self) -> impl DoubleEndedIterator<Item = f64> {
        self.0.iter().copied()
    }
}

/// The series of one session, all in events a second.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// Pages read.
    pub(super) reads: Series,
    /// Pages written.
    pub(super) writes: Series,
    /// File pages that left.
    pub(super) evictions: Series,
    /// Pages that became dirty.
    pub(super) dirtied: Series,
    /// Client commands.
    pub(super) queries: Series,
    /// Commits.
    pub(super) commits: Series,
    probes: BTreeMap<String, Series>,
}

impl History {
    /// Adds the rates of one snapshot to every series.
    pub(super) fn push(&mut self, snapshot: &Snapshot) {
        let rates = &snapshot.rates;
        self.reads.push(rates.reads);
        self.writes.push(rates.writes);
        self.evictions.push(rates.evictions);
        self.dirtied.push(rates.dirtied);
        self.queries.push(snapshot.queries.as_ref().map_or(0.0, |latency| latency.rate));
        self.commits.push(snapshot.commits.as_ref().map_or(0.0, |latency| latency.rate));
        for probe in &snapshot.probes {
            if let Some(series) = self.probes.get_mut(&probe.name) {
                series.push(probe.rate);
            } else if self.probes.len() < PROBES {
                self.probes.entry(probe.name.clone()).or_default().push(probe.rate);
            }
        }
    }

    /// The rates of one probe; `None` for one never seen.
    pub(super) fn probe(&self, name: &str) -> Option<&Series> {
        self.probes.get(name)
    }
}
