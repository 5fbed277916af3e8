//! How much is measured: all of it, or just enough to show that it works.

use test_servers::{Dataset, Release};

/// Sizes and times of a run.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    /// What is measured.
    pub(crate) server: Release,
    /// Rows of each of the four tables of the agreement.
    pub(crate) agreement_rows: u32,
    /// Length of their load in seconds.
    pub(crate) agreement_seconds: u32,
    /// Pools whose list is made, in MiB, the largest last.
    pub(crate) pools_mib: Vec<u64>,
    /// Lists made of each.
    pub(crate) lists: usize,
    /// Tables under sysbench.
    pub(crate) data: Dataset,
    /// Pool that holds all of them, in MiB.
    pub(crate) warm_mib: u64,
    /// Pool that holds a quarter of them, in MiB.
    pub(crate) thrashing_mib: u64,
    /// Interleaved rounds of each way to attach, pool thrashing.
    pub(crate) rounds: usize,
    /// Rounds of two servers side by side, and the length of their stretches in seconds.
    pub(crate) twin_rounds: usize,
    pub(crate) twin_seconds: usize,
    /// Length of a stretch in seconds.
    pub(crate) stretch_seconds: usize,
    /// Calls in a row of a probed function.
    pub(crate) calls: u64,
    /// Rows of calls.
    pub(crate) call_rounds: usize,
    /// Cold resolutions of a server's symbols.
    pub(crate) resolutions: usize,
    /// Length of the bursts that must not lose anything, in seconds.
    pub(crate) burst_seconds: u32,
}

impl Scale {
    pub(crate) fn full(server: Release) -> Self {
        Self {
            server,
            agreement_rows: 100_000,
            agreement_seconds: 12,
            pools_mib: vec![512, 2048, 8192],
            lists: 7,
            data: Dataset { tables: 4, rows: 290_000 },
            warm_mib: 512,
            thrashing_mib: 64,
            rounds: 6,
            twin_rounds: 8,
            twin_seconds: 10,
            stretch_seconds: 2,
            calls: 40_000,
            call_rounds: 25,
            resolutions: 5,
            burst_seconds: 15,
        }
    }

    pub(crate) fn quick(server: Release) -> Self {
        Self {
            server,
            agreement_rows: 20_000,
            agreement_seconds: 4,
            pools_mib: vec![512, 1024],
            lists: 3,
            data: Dataset { tables: 4, rows: 36_000 },
            warm_mib: 128,
            thrashing_mib: 8,
            rounds: 2,
            twin_rounds: 1,
            twin_seconds: 3,
            stretch_seconds: 4,
            calls: 10_000,
            call_rounds: 3,
            resolutions: 2,
            burst_seconds: 4,
        }
    }
}
