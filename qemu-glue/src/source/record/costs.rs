//! What the process at the source uses.

use crate::usage::{cpu_s, memory_bytes};
use migration_record::Costs;

/// Counts from its making on.
pub(in crate::source) struct CostMeter {
    begun_s: f64,
    peak_bytes: u64,
}

impl CostMeter {
    pub(in crate::source) fn new() -> Self {
        Self { begun_s: cpu_s(), peak_bytes: memory_bytes() }
    }

    /// Looks how much memory it is now.
    pub(in crate::source) fn look(&mut self) {
        self.peak_bytes = self.peak_bytes.max(memory_bytes());
    }

    pub(in crate::source) fn fill(&mut self, costs: &mut Costs) {
        self.look();
        costs.source_cpu_s = Some(cpu_s() - self.begun_s);
        costs.source_peak_bytes = Some(self.peak_bytes);
    }
}
