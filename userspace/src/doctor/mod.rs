//! What observing needs of a machine and of a server, each finding with its remedy.
//!
//! | module | looks at |
//! |---|---|
//! | `kernel` | version, type information, lockdown, uprobe events |
//! | `rights` | capabilities, namespaces, limits on them |
//! | `programs` | the eBPF programs of this build: loaded, attached to ourselves, hit |
//! | `memory` | frame numbers by pagemap and by walk, what moves frames |
//! | `server` | debug information, the proof of the pool, probe sites |
//! | `storage` | flush method, file system, disks |
//!
//! What can be tried is tried, on this process: the meaning of a setting differs between
//! distributions. Settings are read to name the remedy. The checks that only read take the text that
//! the kernel gives; a server is looked at and nothing is attached to it.

mod check;
mod kernel;
mod memory;
mod programs;
mod rights;
mod server;
mod storage;
mod text;

pub use check::{Check, CheckStatus, Report};

use std::fs;

use symbols::Options;

use crate::choose::ChooseError;
use crate::target::Target;

/// Looks at this machine, and at the server that was chosen. That none runs is no failure.
///
/// Takes a second or two, most of it the proof of the page-table walk and a first look at debug
/// information; up to ten seconds more while a server is starting.
#[must_use]
pub fn examine(target: Result<Target, ChooseError>, options: &Options) -> Report {
    Report::new(machine(), server::checks(target, options))
}

fn machine() -> Vec<Check> {
    let text = |path: &str| fs::read_to_string(path).ok();
    let link = |path: &str| Some(fs::read_link(path).ok()?.to_string_lossy().into_owned());
    let sysctl = |name: &str| text(&format!("/proc/sys/{name}"));
    let mm = |name: &str| text(&format!("/sys/kernel/mm/{name}"));
    let held = text("/proc/self/status").and_then(|status| rights::Capabilities::parse(&status));
    let mut checks = vec![
        kernel::version(sysctl("kernel/osrelease").as_deref()),
        kernel::architecture(std::env::consts::ARCH),
        kernel::type_information(fs::read("/sys/kernel/btf/vmlinux").ok().as_deref()),
        kernel::lockdown(text("/sys/kernel/security/lockdown").as_deref()),
        kernel::uprobe_events(text("/sys/bus/event_source/devices/uprobe/type").as_deref()),
        kernel::jit(sysctl("net/core/bpf_jit_enable").as_deref()),
        rights::capabilities(held),
        rights::user_namespace(link("/proc/self/ns/user").as_deref()),
        rights::pid_namespace(link("/proc/self/ns/pid").as_deref()),
        rights::ptrace_scope(sysctl("kernel/yama/ptrace_scope").as_deref(), held),
        rights::unprivileged(
            sysctl("kernel/unprivileged_bpf_disabled").as_deref(),
            sysctl("kernel/perf_event_paranoid").as_deref(),
        ),
        rights::kernel_addresses(sysctl("kernel/kptr_restrict").as_deref()),
    ];
    checks.extend(programs::checks());
    checks.extend(memory::frames());
    checks.extend([
        memory::huge_pages(
            mm("transparent_hugepage/enabled").as_deref(),
            mm("transparent_hugepage/khugepaged/defrag").as_deref(),
        ),
        memory::same_page_merging(mm("ksm/run").as_deref()),
        memory::numa_balancing(
            sysctl("kernel/numa_balancing").as_deref(),
            text("/sys/devices/system/node/online").as_deref(),
        ),
    ]);
    checks
}
