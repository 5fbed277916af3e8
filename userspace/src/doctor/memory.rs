//! Physical frames: how their numbers are had, and what moves them.

use std::hint::black_box;
use std::process::id;

use probe_abi::KernelLayout;

use super::Check;
use super::check::causes;
use crate::frames::{FRAME_BYTES, Frame, KernelError, Pagemap, PagemapError, Walk, WalkError};
use crate::memory::ServerAddr;
use crate::probes::ProbesError;

/// Frame numbers by both ways, of pages of our own.
pub(super) fn frames() -> Vec<Check> {
    let shown = own_frame();
    let pagemap_works = matches!(&shown, Ok(frame) if *frame != Frame::ABSENT);
    let walk = Walk::open(id()).map(|walk| walk.kernel());
    vec![pagemap(shown), self::walk(walk, pagemap_works)]
}

/// The frame of a page of our own.
fn own_frame() -> Result<Frame, PagemapError> {
    let page = black_box(vec![1_u8; usize::try_from(FRAME_BYTES).unwrap_or(4096)]);
    let address = page.as_ptr().expose_provenance() as u64 & !(FRAME_BYTES - 1);
    let mut frame = [Frame::ABSENT];
    Pagemap::open(id())?.translate(ServerAddr(address), &mut frame)?;
    Ok(frame[0])
}

fn pagemap(shown: Result<Frame, PagemapError>) -> Check {
    const NAME: &str = "frame numbers (pagemap)";
    match shown {
        Ok(Frame::ABSENT) => Check::unknown(NAME, "the page looked at was swapped out"),
        Ok(_) => Check::ok(NAME, "shown"),
        Err(error) => {
            let remedy = match &error {
                PagemapError::Io { source, .. }
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    "boot a kernel with CONFIG_PROC_PAGE_MONITOR=y"
                }
                _ => error.hint(),
            };
            Check::fail(NAME, causes(&error), remedy)
        }
    }
}

fn walk(proven: Result<KernelLayout, WalkError>, pagemap_works: bool) -> Check {
    const NAME: &str = "page-table walk (eBPF)";
    let error = match proven {
        Ok(kernel) => {
            let levels = kernel.levels;
            return Check::ok(
                NAME,
                format!("verified against pagemap ({levels} levels); serves the list"),
            );
        }
        Err(error) => error,
    };
    let remedy = match &error {
        WalkError::Load(ProbesError::NotBuiltIn) => ProbesError::NotBuiltIn.hint(),
        WalkError::Load(_) | WalkError::Run { .. } => {
            "see the findings on capabilities and eBPF programs"
        }
        WalkError::Kernel(KernelError::Pagemap(error)) => error.hint(),
        WalkError::Kernel(KernelError::NoDirectMap { .. } | KernelError::Disproved { .. })
        | WalkError::Gone { .. }
        | WalkError::Fault { .. } => {
            "run in the initial pid namespace: the walk looks processes up by their numbers there; in it \
             already, none is needed: pagemap is slower, no more"
        }
        WalkError::Kernel(_) => "none is needed: pagemap is slower, no more",
    };
    let instead = if pagemap_works { "pagemap serves the list" } else { "nothing serves the list" };
    Check::warning(NAME, format!("{}; {instead}", causes(&error)), remedy)
}

/// `/sys/kernel/mm/transparent_hugepage/enabled`, e.g. `always [madvise] never`, and
/// `khugepaged/defrag` there (Documentation/admin-guide/mm/transhuge.rst).
///
/// Frames are translated when a list is made; what moves afterwards is found out by the proof of each
/// page and costs a send, never a wrong page.
pub(super) fn huge_pages(enabled: Option<&str>, khugepaged: Option<&str>) -> Check {
    const NAME: &str = "transparent huge pages";
    let Some(mode) = enabled.and_then(|text| text.split(['[', ']']).nth(1)) else {
        return Check::unknown(NAME, "the kernel does not say");
    };
    let collapses = khugepaged.map(str::trim) != Some("0");
    match mode {
        "never" => Check::ok(NAME, "never: none is made, none is split"),
        "madvise" => Check::ok(NAME, "madvise: only where the server asks for them"),
        "always" if collapses => Check::warning(
            NAME,
            "always: khugepaged may move 512 frames of the pool at a time after a list is made",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled, or 0 > khugepaged/defrag there",
        ),
        "always" => {
            Check::ok(NAME, "always, made at first use only (khugepaged does not defragment)")
        }
        other => Check::unknown(NAME, format!("mode `{other}` is not known")),
    }
}

/// `/sys/kernel/mm/ksm/run` (Documentation/admin-guide/mm/ksm.rst).
pub(super) fn same_page_merging(run: Option<&str>) -> Check {
    const NAME: &str = "same-page merging (KSM)";
    match run.map(str::trim) {
        None => Check::ok(NAME, "not in this kernel"),
        Some("0" | "2") => Check::ok(NAME, "off"),
        Some("1") => Check::warning(
            NAME,
            "on: frames of a server that opted in (MADV_MERGEABLE, MemoryKSM=) move when merged",
            "echo 2 > /sys/kernel/mm/ksm/run, or leave the server out (MemoryKSM=no)",
        ),
        Some(other) => Check::unknown(NAME, format!("`{other}` is not known")),
    }
}

/// `/proc/sys/kernel/numa_balancing` and `/sys/devices/system/node/online`, e.g. `0-1`.
pub(super) fn numa_balancing(mode: Option<&str>, nodes: Option<&str>) -> Check {
    const NAME: &str = "NUMA balancing";
    let nodes = nodes.map_or("0", str::trim);
    let several = nodes.contains(['-', ',']);
    match mode.map(str::trim) {
        None => Check::ok(NAME, "not in this kernel"),
        Some("0") => Check::ok(NAME, "off"),
        Some(_) if !several => Check::ok(NAME, "on, with one node to keep frames on"),
        Some(mode) => Check::warning(
            NAME,
            format!("on ({mode}), with nodes {nodes}: frames move to where they are used"),
            "sysctl -w kernel.numa_balancing=0 while a migration is prepared",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::CheckStatus::{Fail, Ok as Fine, Unknown, Warning};
    use super::*;

    #[test]
    fn frames_come_from_the_best_way_there_is() {
        assert_eq!(pagemap(Ok(Frame::from_number(7))).status, Fine);
        assert_eq!(pagemap(Ok(Frame::ABSENT)).status, Unknown);
        let hidden = pagemap(Err(PagemapError::Hidden { pid: 1 }));
        assert_eq!(hidden.status, Fail);
        assert!(hidden.remedy.unwrap().contains("CAP_SYS_ADMIN"));
        let source = std::io::ErrorKind::NotFound.into();
        let absent = pagemap(Err(PagemapError::Io { pid: 1, source }));
        assert!(absent.remedy.unwrap().contains("CONFIG_PROC_PAGE_MONITOR"));

        let layout = KernelLayout { levels: 5, ..KernelLayout::default() };
        assert!(walk(Ok(layout), true).found.contains("5 levels"));
        let slower = walk(Err(WalkError::Kernel(KernelError::NoDirectMap { tried: 9 })), true);
        assert_eq!(slower.status, Warning);
        assert!(slower.found.raw().ends_with("; pagemap serves the list"), "{}", slower.found);
        let namespace = walk(Err(WalkError::Gone { pid: 5 }), true);
        assert!(namespace.remedy.unwrap().contains("pid namespace"));
        let none = walk(Err(WalkError::Load(ProbesError::NotBuiltIn)), false);
        assert!(none.found.raw().ends_with("nothing serves the list"));
        assert!(none.remedy.unwrap().contains("cargo xtask build"));
    }

    #[test]
    fn huge_pages_matter_when_khugepaged_moves_frames() {
        let always = "[always] madvise never\n";
        assert_eq!(huge_pages(Some("always [madvise] never\n"), Some("1\n")).status, Fine);
        assert_eq!(huge_pages(Some("always madvise [never]\n"), Some("1\n")).status, Fine);
        assert_eq!(huge_pages(Some(always), Some("1\n")).status, Warning);
        assert_eq!(huge_pages(Some(always), Some("0\n")).status, Fine);
        assert_eq!(huge_pages(Some(always), None).status, Warning);
        assert_eq!(huge_pages(Some("[inherit]"), None).status, Unknown);
        assert_eq!(huge_pages(Some("always"), None).status, Unknown);
        assert_eq!(huge_pages(None, None).status, Unknown);
    }

    #[test]
    fn other_movers_of_frames() {
        let ksm = [(None, Fine), (Some("0\n"), Fine), (Some("1\n"), Warning), (Some("x"), Unknown)];
        for (run, status) in ksm {
            assert_eq!(same_page_merging(run).status, status, "{run:?}");
        }
        assert_eq!(numa_balancing(Some("1\n"), Some("0-1\n")).status, Warning);
        assert_eq!(numa_balancing(Some("2\n"), Some("0,2\n")).status, Warning);
        assert_eq!(numa_balancing(Some("1\n"), Some("0\n")).status, Fine);
        assert_eq!(numa_balancing(Some("0\n"), Some("0-1\n")).status, Fine);
        assert_eq!(numa_balancing(None, None).status, Fine);
    }
}
