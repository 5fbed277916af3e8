//! What is observed of a server.

use crate::probes::ProbeOptions;

/// How to observe.
#[derive(Clone, Copy, Debug)]
pub struct ObserveOptions {
    /// What to attach.
    pub probes: ProbeOptions,
    /// Begin with trace records on.
    pub trace: bool,
    /// Count the run time of the eBPF programs (costs some ns a hit while it is on).
    pub statistics: bool,
    /// Fill in one cell a block.
    pub cells: bool,
}

impl Default for ObserveOptions {
    fn default() -> Self {
        Self { probes: ProbeOptions::default(), trace: false, statistics: true, cells: false }
    }
}
