//! What the probes and scans found in a pool.

use serde::{Deserialize, Serialize};

/// What the probes and scans found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// CLOCK_MONOTONIC of the guest when this was read, in ns.
    pub taken_ns: u64,
    /// Seconds since the probes were set.
    pub since_attach_s: f64,
    /// Page size of the database in bytes.
    pub page_size: u32,
    /// Blocks of the pool by state.
    pub blocks: Blocks,
    /// Page events since the probes were set.
    pub events: Kinds,
    /// Page events a second, since this was read before.
    pub per_second: PerSecond,
    /// Client commands, where the agent was started to look at them.
    pub queries: Option<Times>,
    /// Commits, likewise.
    pub commits: Option<Times>,
    /// Blocks where the table was found wrong and was repaired.
    pub drift: u64,
}

/// Blocks by state; each is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocks {
    /// On the free list.
    pub free: u64,
    /// Clean, and eligible to be left behind.
    pub clean: u64,
    /// With unwritten changes.
    pub dirty: u64,
    /// Being read or written.
    pub io: u64,
    /// Pages that stay in the migration for another reason.
    pub ineligible: u64,
    /// No page.
    pub other: u64,
}

/// Counts by kind of page event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kinds {
    /// Pages read.
    pub reads: u64,
    /// Pages written.
    pub writes: u64,
    /// File pages that left the pool.
    pub evictions: u64,
    /// Pages that became dirty.
    pub dirtied: u64,
}

/// Rates by kind of page event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PerSecond {
    /// Pages read.
    pub reads: f64,
    /// Pages written.
    pub writes: f64,
    /// File pages that left the pool.
    pub evictions: f64,
    /// Pages that became dirty.
    pub dirtied: f64,
}

/// Operations and their latency.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// Operations since the probes were set.
    pub count: u64,
    /// Sum of their latencies in ns.
    pub sum_ns: u64,
    /// Operations a second, since this was read before.
    pub rate: f64,
    /// Upper bound of the power of two of ns that holds the median of these.
    pub p50_ns: u64,
    /// Likewise for 95 %.
    pub p95_ns: u64,
    /// Likewise for 99 %.
    pub p99_ns: u64,
}
