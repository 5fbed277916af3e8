//! What the figures were measured on.

use std::fmt;
use std::fs;
use std::thread;

use serde::Serialize;

/// The machine, as the kernel describes it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MachineFacts {
    cpu: String,
    cores: usize,
    memory_bytes: u64,
    kernel: String,
    /// Whether the kernel runs under a hypervisor, where a trap costs more.
    virtual_machine: bool,
}

impl MachineFacts {
    pub(crate) fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let flags = value(&cpuinfo, "flags").unwrap_or_default();
        let kib = value(&meminfo, "MemTotal").and_then(|text| text.split(' ').next()?.parse().ok());
        Self {
            cpu: value(&cpuinfo, "model name").unwrap_or_default().to_owned(),
            cores: thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: kib.unwrap_or(0_u64) * 1024,
            kernel: kernel.trim().to_owned(),
            virtual_machine: flags.split(' ').any(|flag| flag == "hypervisor"),
        }
    }
}

impl fmt::Display for MachineFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cores, memory_bytes, kernel, virtual_machine } = self;
        let gib = memory_bytes >> 30;
        let place = if *virtual_machine { "virtual machine" } else { "bare metal" };
        write!(f, "{cpu}, {cores} cores, {gib} GiB, Linux {kernel}, {place}")
    }
}

/// The first `key : value` of a file below /proc.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.split(':').next().is_some_and(|k| k.trim() == key))?;
    Some(line.split_once(':')?.1.trim())
}
