//! What observing costs: the agent's CPU time and memory, the kernel memory of its maps.

use std::fs;
use std::time::{Duration, Instant};

use crate::model::Cost;

/// Measures between one snapshot and the next.
pub struct Meter {
    last: Reading,
    /// Keeps the kernel counting the run time of eBPF programs while it lives.
    _statistics: Option<std::os::fd::OwnedFd>,
    counts: bool,
}

/// Readings at one moment.
#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    cpu: Duration,
    bpf_ns: u64,
    bpf_runs: u64,
}

impl Meter {
    /// Begins to measure; switches the kernel's statistics of eBPF programs on if it may, and off again
    /// when dropped.
    #[must_use]
    pub fn start(statistics: bool) -> Self {
        let enabled =
            statistics.then(|| aya::sys::enable_stats(aya::sys::Stats::RunTime).ok()).flatten();
        let counts = enabled.is_some();
        let last = Reading { at: Instant::now(), cpu: cpu_time(), bpf_ns: 0, bpf_runs: 0 };
        Self { last, _statistics: enabled, counts }
    }

    /// Cost since the last call; `bpf` is the programs' run time in ns and number of runs so far.
    #[expect(clippy::cast_precision_loss, reason = "shares and means, for showing")]
    pub fn read(&mut self, bpf: (u64, u64)) -> Cost {
        let now = Reading { at: Instant::now(), cpu: cpu_time(), bpf_ns: bpf.0, bpf_runs: bpf.1 };
        let wall = (now.at - self.last.at).as_secs_f64().max(1e-9);
        let bpf_ns = now.bpf_ns.saturating_sub(self.last.bpf_ns);
        let runs = now.bpf_runs.saturating_sub(self.last.bpf_runs);
        let cost = Cost {
            bpf_cpu: self.counts.then(|| bpf_ns as f64 / 1e9 / wall),
            bpf_ns_per_run: (self.counts && runs > 0).then(|| bpf_ns as f64 / runs as f64),
            agent_cpu: now.cpu.saturating_sub(self.last.cpu).as_secs_f64() / wall,
            agent_rss: resident_bytes(),
            map_bytes: map_bytes(),
        };
        self.last = now;
        cost
    }
}

/// User and system time of this process (`/proc/self/schedstat` counts one thread only, so the sum of
/// all threads' is taken).
fn cpu_time() -> Duration {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    let ns: u64 = tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(ns)
}

/// Resident memory of this process and of those that keep its probes. What several of them map, such as the program, counts
/// for each.
#[must_use]
pub fn resident_bytes() -> u64 {
    let keepers = probe_loader::processes().into_iter().map(|pid| format!("/proc/{pid}/status"));
    let all = std::iter::once("/proc/self/status".to_owned()).chain(keepers);
    // One that has just ended has none.
    all.map(|file| kib(&fs::read_to_string(file).unwrap_or_default(), "VmRSS:") * 1024).sum()
}

fn kib(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Kernel memory of the eBPF maps that this process holds open.
fn map_bytes() -> u64 {
    let Ok(entries) = fs::read_dir("/proc/self/fdinfo") else { return 0 };
    let mut maps: Vec<(u64, u64)> = entries
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
        .filter(|text| text.contains("map_type:"))
        .map(|text| (kib(&text, "map_id:"), kib(&text, "memlock:")))
        .collect();
    // The same map may be open several times.
    maps.sort_unstable();
    maps.dedup();
    maps.iter().map(|(_, bytes)| bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_cost_is_seen() {
        let mut meter = Meter::start(false);
        let (begun, before) = (Instant::now(), cpu_time());
        let used = Duration::from_millis(30);
        // Others may have the CPUs meanwhile.
        while cpu_time().saturating_sub(before) < used {
            std::hint::spin_loop();
        }
        let cost = meter.read((0, 0));
        let least = used.as_secs_f64() / begun.elapsed().as_secs_f64();
        assert!(cost.agent_cpu > least * 0.9, "{cost:?}, at least {least}");
        assert!(cost.agent_rss > 1 << 20, "{cost:?}");
        assert_eq!(cost.bpf_cpu, None);
    }
}
