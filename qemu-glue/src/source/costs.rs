//! What this process uses.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

use super::progress::real;
use crate::report::Costs;

/// Counts from its making on.
pub(super) struct Meter {
    begun_s: f64,
    peak_bytes: u64,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self { begun_s: cpu_s(), peak_bytes: own_bytes() }
    }

    /// Looks how much memory it is now.
    pub(super) fn look(&mut self) {
        self.peak_bytes = self.peak_bytes.max(own_bytes());
    }

    pub(super) fn fill(&mut self, costs: &mut Costs) {
        self.look();
        costs.source_cpu_s = Some(cpu_s() - self.begun_s);
        costs.source_peak_bytes = Some(self.peak_bytes);
    }
}

/// CPU time of this process so far.
fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let part = |number: i64| real(u64::try_from(number).unwrap_or(0));
    part(time.tv_sec) + part(time.tv_nsec) / 1e9
}

/// Anonymous memory of this process: the guest's RAM, which it maps, is QEMU's.
fn own_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
