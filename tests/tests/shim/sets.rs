//! Sets of pages, and what the host does with them.

use std::os::unix::fs::FileExt as _;

use page_number::PAGE_BYTES;
use qemu_glue::channel::SetRange;
use qemu_glue::set::{Block, SetRun, SkipSet};
use qemu_glue::shim::{Armed, LibraryStatus, SetState};

use crate::guest::{FIRST_PAGE, MEMORY, PAGES};
use crate::lab::wait_for;
use crate::vm::{BLOCK, Vm};

/// Runs of 1 to 7 pages with gaps between them, in the opposite order of the RAM, as storage may have
/// them: three quarters of the filled memory.
pub(crate) fn scattered() -> SkipSet {
    let mut runs = Vec::new();
    let mut page = FIRST_PAGE;
    while page + 10 < FIRST_PAGE + PAGES {
        let pages = 1 + (page % 7) as u32;
        runs.push((page, pages));
        page += u64::from(pages) + page % 3;
    }
    runs.reverse();
    set(BLOCK, MEMORY, &runs)
}

/// One run of a thousand pages.
pub(crate) fn plain() -> SkipSet {
    set(BLOCK, MEMORY, &[(FIRST_PAGE, 1000)])
}

/// A set of runs in one block: first page and number of pages.
pub(crate) fn set(block: &str, length: u64, runs: &[(u64, u32)]) -> SkipSet {
    let mut place = 0;
    let run = |(page, pages): &(u64, u32)| {
        place += u64::from(*pages) * PAGE_BYTES;
        let offset = page * PAGE_BYTES;
        SetRun { block: 0, device: 0, pages: *pages, offset, place: place - PAGE_BYTES }
    };
    let runs = runs.iter().map(run).collect();
    SkipSet::new(vec![Block { name: block.to_owned(), length }], vec!["disk".to_owned()], runs)
        .unwrap()
}

/// All pages of a set.
pub(crate) fn all(set: &SkipSet) -> SetRange {
    SetRange { first: 0, count: set.pages() }
}

/// Puts pages into the memory of a destination that has received nothing yet, as a restore would. The
/// source's guest must be asleep.
pub(crate) fn restore(set: &SkipSet, source: &Vm, destination: &Vm) {
    for (_, run) in set.in_ram_order() {
        let bytes = source.read(run.offset, usize::try_from(run.bytes()).unwrap());
        destination.memory.write_all_at(&bytes, run.offset).unwrap();
    }
}

/// Waits until the set is hinted.
pub(crate) async fn hinted(armed: &Armed) -> LibraryStatus {
    wait_for("the set is hinted", async || {
        let status = armed.status();
        assert_ne!(status.state, SetState::Refused, "{:?}", status.reason);
        status.state == SetState::Hinted
    })
    .await;
    armed.status()
}
