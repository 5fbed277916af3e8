//! What the kernel must be able to do. Each check takes the text that the kernel gives.

use super::Check;
use crate::frames::Btf;

/// Oldest kernel that has all that is used: the attach cookie of a uprobe came last
/// (`bpf_get_attach_cookie`, Linux 5.15); runs of raw tracepoint programs in 5.10, the ring buffer
/// and `CAP_BPF` in 5.8, array maps that can be mapped in 5.5.
const OLDEST: (u32, u32) = (5, 15);
/// From here on hits of several CPUs no longer wait for one lock (kernel/events/uprobes.c).
const SCALES: (u32, u32) = (6, 13);

/// `major.minor` of a kernel's release, e.g. `6.1.0-28-amd64`.
fn major_minor(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// `/proc/sys/kernel/osrelease`.
pub(super) fn version(release: Option<&str>) -> Check {
    const NAME: &str = "kernel";
    let release = release.unwrap_or_default().trim();
    match major_minor(release) {
        None => Check::unknown(NAME, format!("release `{release}` is not understood")),
        Some(version) if version < OLDEST => Check::fail(
            NAME,
            format!("{release} has no cookies for uprobes (5.15)"),
            "boot Linux 5.15 or later",
        ),
        Some(version) if version < SCALES => Check::ok(
            NAME,
            format!("{release}; 6.13 and later handle hits on many CPUs with less contention"),
        ),
        Some(_) => Check::ok(NAME, release),
    }
}

/// The architecture that this program was built for, as Rust names it.
pub(super) fn architecture(arch: &str) -> Check {
    const NAME: &str = "architecture";
    if arch == "x86_64" {
        return Check::ok(NAME, arch);
    }
    Check::fail(
        NAME,
        format!("{arch}: registers, instructions and page tables of x86-64 only are known"),
        "observe on an x86-64 machine",
    )
}

/// What the page-table walk asks for.
const MEMBERS: [(&str, &str); 5] = [
    ("task_struct", "mm"),
    ("task_struct", "tgid"),
    ("task_struct", "tasks"),
    ("task_struct", "group_leader"),
    ("mm_struct", "pgd"),
];

/// `/sys/kernel/btf/vmlinux`. Only the walk needs it: pagemap serves the list without.
pub(super) fn type_information(bytes: Option<&[u8]>) -> Check {
    const NAME: &str = "kernel types (BTF)";
    const REMEDY: &str = "boot a kernel with CONFIG_DEBUG_INFO_BTF=y (all of Debian's since 11); \
                          until then the slower pagemap serves the list";
    let Some(bytes) = bytes else {
        return Check::warning(NAME, "no /sys/kernel/btf/vmlinux", REMEDY);
    };
    let result = Btf::parse(bytes).and_then(|btf| {
        MEMBERS.iter().try_for_each(|(of, member)| btf.offset(of, member).map(drop))
    });
    match result {
        Ok(()) => {
            Check::ok(NAME, format!("{} KiB, with all members asked for", bytes.len() / 1024))
        }
        Err(error) => Check::warning(NAME, error.to_string(), REMEDY),
    }
}

/// `/sys/kernel/security/lockdown`, e.g. `none [integrity] confidentiality`.
///
/// Only confidentiality takes `bpf_probe_read_kernel` away (`LOCKDOWN_BPF_READ_KERNEL` stands after
/// `LOCKDOWN_INTEGRITY_MAX` in include/linux/security.h, Linux 5.4 to 6.18).
pub(super) fn lockdown(text: Option<&str>) -> Check {
    const NAME: &str = "lockdown";
    let chosen = text.and_then(|text| text.split(['[', ']']).nth(1));
    match chosen {
        None => Check::unknown(NAME, "the kernel does not say (no lockdown file in securityfs)"),
        Some("confidentiality") => Check::fail(
            NAME,
            "confidentiality: eBPF programs may not read kernel memory",
            "boot with `lockdown=integrity` (Secure Boot asks for no more), or without",
        ),
        Some(level) => Check::ok(NAME, format!("{level}, which hinders nothing here")),
    }
}

/// `/sys/bus/event_source/devices/uprobe/type`: the number by which `perf_event_open` knows uprobes.
pub(super) fn uprobe_events(kind: Option<&str>) -> Check {
    const NAME: &str = "uprobe events";
    match kind.map(|text| text.trim().parse::<u32>()) {
        Some(Ok(number)) => Check::ok(NAME, format!("perf event type {number}")),
        _ => Check::fail(
            NAME,
            "the kernel has no perf events for uprobes",
            "boot a kernel with CONFIG_UPROBE_EVENTS=y, and have sysfs mounted on /sys",
        ),
    }
}

/// `/proc/sys/net/core/bpf_jit_enable`.
pub(super) fn jit(text: Option<&str>) -> Check {
    const NAME: &str = "eBPF compiler (JIT)";
    const REMEDY: &str = "sysctl -w net.core.bpf_jit_enable=1";
    match text.map(str::trim) {
        Some("1") => Check::ok(NAME, "on"),
        Some("0") => Check::warning(NAME, "off: the probes are interpreted", REMEDY),
        Some("2") => Check::warning(NAME, "on, and writes all code to the kernel's log", REMEDY),
        _ => Check::unknown(NAME, "the kernel does not say"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::CheckStatus::{Fail, Ok, Unknown, Warning};
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let cases = [
            ("5.14.0-427.el9.x86_64", Fail),
            ("5.4.0-150-generic", Fail),
            ("4.18.20", Fail),
            ("5.15.0", Ok),
            ("6.1.0-28-amd64\n", Ok),
            ("6.18.44", Ok),
            ("10.0-rc1", Ok),
            ("", Unknown),
            ("linux", Unknown),
        ];
        for (release, status) in cases {
            assert_eq!(version(Some(release)).status, status, "{release}");
        }
        assert!(version(Some("6.12.9")).found.contains("6.13"));
        assert!(!version(Some("6.13.0")).found.contains("contention"));
        assert_eq!(version(None).status, Unknown);
    }

    #[test]
    fn other_architectures_fail() {
        assert_eq!(architecture("x86_64").status, Ok);
        assert_eq!(architecture("aarch64").status, Fail);
    }

    #[test]
    fn only_confidentiality_hinders() {
        assert_eq!(lockdown(Some("[none] integrity confidentiality\n")).status, Ok);
        assert_eq!(lockdown(Some("none [integrity] confidentiality\n")).status, Ok);
        assert_eq!(lockdown(Some("none integrity [confidentiality]\n")).status, Fail);
        assert_eq!(lockdown(Some("")).status, Unknown);
        assert_eq!(lockdown(None).status, Unknown);
    }

    #[test]
    fn uprobe_events_have_a_number() {
        assert_eq!(uprobe_events(Some("8\n")).status, Ok);
        assert_eq!(uprobe_events(Some("?")).status, Fail);
        assert_eq!(uprobe_events(None).status, Fail);
    }

    #[test]
    fn the_compiler_should_be_on() {
        assert_eq!(jit(Some("1\n")).status, Ok);
        assert_eq!(jit(Some("0\n")).status, Warning);
        assert_eq!(jit(Some("2\n")).status, Warning);
        assert_eq!(jit(None).status, Unknown);
    }

    #[test]
    fn types_must_parse_and_have_the_members() {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
        assert_eq!(type_information(Some(&bytes)).status, Ok);
        assert_eq!(type_information(Some(&bytes[..1000])).status, Warning);
        let mut renamed = bytes.clone();
        let name = b"\0group_leader\0";
        let at = renamed.windows(name.len()).position(|w| w == name).unwrap();
        renamed[at + 1] = b'G';
        let check = type_information(Some(&renamed));
        assert_eq!(check.status, Warning);
        assert!(check.found.contains("group_leader"), "{}", check.found);
        assert!(type_information(None).remedy.unwrap().contains("CONFIG_DEBUG_INFO_BTF"));
    }
}
