//! What this process may do: capabilities, namespaces, and the settings that limit them.

use super::Check;

/// Inode numbers of the initial namespaces (`PROC_USER_INIT_INO`, `PROC_PID_INIT_INO`;
/// include/linux/proc_ns.h since Linux 3.8).
const INITIAL_USER: u64 = 0xeffffffd;
const INITIAL_PID: u64 = 0xeffffffc;

/// The effective capabilities of a process (include/uapi/linux/capability.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capabilities(u64);

const DAC_OVERRIDE: u32 = 1;
const DAC_READ_SEARCH: u32 = 2;
const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

impl Capabilities {
    /// Reads them from the text of `/proc/PID/status`.
    pub(super) fn parse(status: &str) -> Option<Self> {
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(line.trim(), 16).ok().map(Self)
    }

    const fn has(self, capability: u32) -> bool {
        self.0 >> capability & 1 != 0
    }

    fn any(self, capabilities: &[u32]) -> bool {
        capabilities.iter().any(|capability| self.has(*capability))
    }
}

/// What is needed: any of the capabilities, the name of the narrowest, and what for.
const NEEDED: [(&[u32], &str, &str); 4] = [
    (&[BPF, SYS_ADMIN], "CAP_BPF", "to load eBPF programs"),
    (&[PERFMON, SYS_ADMIN], "CAP_PERFMON", "to attach uprobes and read kernel memory"),
    (&[SYS_PTRACE], "CAP_SYS_PTRACE", "to read the server's memory"),
    (&[SYS_ADMIN], "CAP_SYS_ADMIN", "to see frame numbers"),
];

/// The effective capabilities.
pub(super) fn capabilities(held: Option<Capabilities>) -> Check {
    const NAME: &str = "capabilities";
    let Some(held) = held else {
        return Check::unknown(NAME, "no /proc/self/status");
    };
    let missing: Vec<_> = NEEDED.iter().filter(|(any, ..)| !held.any(any)).collect();
    if !missing.is_empty() {
        let names: Vec<_> =
            missing.iter().map(|(_, name, why)| format!("{name} ({why})")).collect();
        return Check::fail(
            NAME,
            format!("missing: {}", names.join(", ")),
            "run as root, or give the program these capabilities (setcap, AmbientCapabilities= of \
             systemd, --cap-add of a container)",
        );
    }
    if !held.any(&[DAC_READ_SEARCH, DAC_OVERRIDE]) {
        return Check::warning(
            NAME,
            "missing: CAP_DAC_READ_SEARCH (to look into the server's data files)",
            "add it, or run as the server's user; without it the extents of pages on disk are not known",
        );
    }
    Check::ok(NAME, "all that are needed")
}

/// The number in the name of a namespace, e.g. `pid:[4026531836]`.
fn namespace_number(link: &str) -> Option<u64> {
    link.split(['[', ']']).nth(1)?.parse().ok()
}

/// The link `/proc/self/ns/user`. Capabilities count where they are held: the kernel asks for those
/// of the initial namespace.
pub(super) fn user_namespace(link: Option<&str>) -> Check {
    const NAME: &str = "user namespace";
    match link.and_then(namespace_number) {
        Some(INITIAL_USER) => Check::ok(NAME, "the initial one"),
        Some(_) => Check::fail(
            NAME,
            "not the initial one: capabilities held here do not count for eBPF and frame numbers",
            "run outside the container, or in one without a user namespace of its own (not rootless)",
        ),
        None => Check::unknown(NAME, "the kernel does not say"),
    }
}

/// The link `/proc/self/ns/pid`. The walk looks processes up by their initial numbers.
pub(super) fn pid_namespace(link: Option<&str>) -> Check {
    const NAME: &str = "pid namespace";
    match link.and_then(namespace_number) {
        Some(INITIAL_PID) => {
            Check::ok(NAME, "the initial one: servers in every container are seen")
        }
        Some(_) => Check::warning(
            NAME,
            "not the initial one: only servers in it are seen, and the page-table walk finds none",
            "run outside the container, or in one with the host's pids (--pid=host)",
        ),
        None => Check::unknown(NAME, "the kernel does not say"),
    }
}

/// `/proc/sys/kernel/yama/ptrace_scope`: `process_vm_readv` asks as an attaching debugger does
/// (`PTRACE_MODE_ATTACH_REALCREDS`; security/yama/yama_lsm.c).
pub(super) fn ptrace_scope(scope: Option<&str>, held: Option<Capabilities>) -> Check {
    const NAME: &str = "ptrace scope";
    let privileged = held.is_some_and(|held| held.has(SYS_PTRACE));
    match scope.map(|text| (text.trim(), privileged)) {
        None => Check::ok(NAME, "not limited (no Yama)"),
        Some(("0", _)) => Check::ok(NAME, "0: not limited"),
        Some((scope @ ("1" | "2"), true)) => {
            Check::ok(NAME, format!("{scope}: CAP_SYS_PTRACE passes"))
        }
        Some((scope @ ("1" | "2"), false)) => Check::fail(
            NAME,
            format!("{scope}: the server's memory may not be read without CAP_SYS_PTRACE"),
            "run as root, or with CAP_SYS_PTRACE",
        ),
        Some(("3", _)) => Check::fail(
            NAME,
            "3: no process may read another's memory",
            "set kernel.yama.ptrace_scope=1 in /etc/sysctl.d and boot again: 3 cannot be taken back",
        ),
        Some((scope, _)) => Check::unknown(NAME, format!("`{scope}` is not known")),
    }
}

/// `kernel.unprivileged_bpf_disabled` and `kernel.perf_event_paranoid`: both limit only those
/// without `CAP_BPF` and `CAP_PERFMON`, who cannot attach uprobes at all (`perf_uprobe_event_init`,
/// kernel/events/core.c).
pub(super) fn unprivileged(bpf: Option<&str>, perf: Option<&str>) -> Check {
    let value = |text: Option<&str>| text.map_or("?", str::trim).to_owned();
    Check::ok(
        "limits for the unprivileged",
        format!(
            "unprivileged_bpf_disabled={}, perf_event_paranoid={}: not for a holder of capabilities",
            value(bpf),
            value(perf)
        ),
    )
}

/// `/proc/sys/kernel/kptr_restrict`: whether the direct map's base can be read, or must be found.
pub(super) fn kernel_addresses(restrict: Option<&str>) -> Check {
    const NAME: &str = "kernel addresses";
    match restrict.map(str::trim) {
        Some("2") => {
            Check::ok(NAME, "hidden (kptr_restrict=2): the walk searches the direct map itself")
        }
        Some(value) => Check::ok(NAME, format!("shown to the privileged (kptr_restrict={value})")),
        None => Check::unknown(NAME, "the kernel does not say"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::CheckStatus::{Fail, Ok, Unknown, Warning};
    use super::*;

    fn holding(list: &[u32]) -> Option<Capabilities> {
        Some(Capabilities(list.iter().fold(0, |set, capability| set | 1 << capability)))
    }

    #[test]
    fn effective_capabilities_are_read() {
        let status = "Name:\tx\nCapPrm:\t0000000000000001\nCapEff:\t000001ffffffffff\n";
        assert_eq!(Capabilities::parse(status), Some(Capabilities(0x1ff_ffff_ffff)));
        for hostile in ["", "CapEff:", "CapEff:\tzz", "CapEff:\t11111111111111111"] {
            assert_eq!(Capabilities::parse(hostile), None, "{hostile}");
        }
    }

    #[test]
    fn every_missing_capability_is_named() {
        assert_eq!(capabilities(holding(&[BPF, PERFMON, SYS_PTRACE, SYS_ADMIN, 2])).status, Ok);
        assert_eq!(
            capabilities(holding(&[SYS_PTRACE, SYS_ADMIN, 1])).status,
            Ok,
            "stands for both"
        );
        let check = capabilities(holding(&[BPF, PERFMON, SYS_PTRACE, 2]));
        assert_eq!(check.status, Fail);
        assert!(check.found.contains("CAP_SYS_ADMIN") && !check.found.contains("CAP_BPF"));
        let none = capabilities(holding(&[]));
        for (_, name, _) in NEEDED {
            assert!(none.found.contains(name), "{}", none.found);
        }
        assert_eq!(capabilities(holding(&[SYS_PTRACE, SYS_ADMIN])).status, Warning);
        assert_eq!(capabilities(None).status, Unknown);
    }

    #[test]
    fn namespaces_are_told_by_their_numbers() {
        assert_eq!(user_namespace(Some("user:[4026531837]")).status, Ok);
        assert_eq!(user_namespace(Some("user:[4026532531]")).status, Fail);
        assert_eq!(pid_namespace(Some("pid:[4026531836]")).status, Ok);
        assert_eq!(pid_namespace(Some("pid:[4026532618]")).status, Warning);
        for hostile in [None, Some(""), Some("pid:[]"), Some("pid:4")] {
            assert_eq!(user_namespace(hostile).status, Unknown);
            assert_eq!(pid_namespace(hostile).status, Unknown);
        }
    }

    #[test]
    fn yama_stops_even_root_at_three() {
        let root = holding(&[SYS_PTRACE]);
        for (scope, with, without) in
            [("0", Ok, Ok), ("1\n", Ok, Fail), ("2", Ok, Fail), ("3", Fail, Fail)]
        {
            assert_eq!(ptrace_scope(Some(scope), root).status, with, "{scope}");
            assert_eq!(ptrace_scope(Some(scope), holding(&[])).status, without, "{scope}");
        }
        assert_eq!(ptrace_scope(None, None).status, Ok);
        assert_eq!(ptrace_scope(Some("x"), root).status, Unknown);
    }

    #[test]
    fn harmless_settings_are_shown() {
        assert!(unprivileged(Some("2\n"), Some("3\n")).found.contains("perf_event_paranoid=3"));
        assert!(kernel_addresses(Some("2\n")).found.contains("searches"));
        assert_eq!(kernel_addresses(Some("1\n")).status, Ok);
        assert_eq!(kernel_addresses(None).status, Unknown);
    }
}
