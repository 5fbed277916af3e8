//! What must hold of a set before one page of it is hinted. A hint on memory that QEMU does not migrate
//! would crash it, and a page that is hinted but not in the books would be lost, so all of it is checked.

use core::ffi::CStr;

use page_number::{MAX_SET_BLOCKS, MAX_THROTTLE_PAGES, PAGE_BYTES};
use shim_abi::{RefusalReason, RunEntry};

use crate::bits::masks;
use crate::control::Shared;
use crate::hypervisor::{Hypervisor, RamBlock};

/// Blocks by their index in the table.
pub(crate) type Blocks = [Option<RamBlock>; MAX_SET_BLOCKS];

/// Looks up the first `count` blocks of the table, and checks that QEMU sends them page by page.
pub(crate) fn blocks(
    shared: &Shared,
    vm: &impl Hypervisor,
    count: usize,
) -> Result<Blocks, RefusalReason> {
    let mut found = Blocks::default();
    for (index, slot) in found.iter_mut().enumerate().take(count) {
        let number = index as u64;
        let reported = shared.block(index).ok_or(RefusalReason::UnknownBlock(number))?;
        let name = CStr::from_bytes_until_nul(&reported.name);
        let name = name.map_err(|_| RefusalReason::UnknownBlock(number))?;
        let block = vm.block(name).ok_or(RefusalReason::UnknownBlock(number))?;
        if !block.migratable {
            return Err(RefusalReason::NotMigratable(number));
        }
        if !block.shared {
            return Err(RefusalReason::NotShared(number));
        }
        if block.page_bytes != PAGE_BYTES {
            return Err(RefusalReason::PageSize { block: number, bytes: block.page_bytes });
        }
        if block.length != reported.length {
            return Err(RefusalReason::Length { block: number, bytes: block.length });
        }
        *slot = Some(block);
    }
    Ok(found)
}

/// Checks that `runs` lie in their blocks, in order, and have each of the page numbers `0..pages` once.
///
/// `seen` has a bit for each page, all zero; it is left full.
pub(crate) fn runs(
    runs: &[RunEntry],
    blocks: &Blocks,
    pages: u32,
    seen: &mut [u64],
) -> Result<(), RefusalReason> {
    let mut missing = pages;
    // Block and end of the run before; the pages that keep QEMU from the switchover are in no run.
    let mut before = (0, u64::from(MAX_THROTTLE_PAGES) * PAGE_BYTES);
    for (index, run) in runs.iter().enumerate() {
        let number = index as u64;
        if run.pages == 0 || !run.offset.is_multiple_of(PAGE_BYTES) {
            return Err(RefusalReason::Unaligned(number));
        }
        let block = blocks.get(run.block as usize).and_then(Option::as_ref);
        let block = block.ok_or(RefusalReason::RunOfNoBlock(number))?;
        let end = run.offset.checked_add(u64::from(run.pages) * PAGE_BYTES);
        let end = end.filter(|end| *end <= block.length).ok_or(RefusalReason::Beyond(number))?;
        let after = run.block > before.0 || (run.block == before.0 && run.offset >= before.1);
        if !after {
            return Err(if index == 0 {
                RefusalReason::ThrottlePages
            } else {
                RefusalReason::Order(number)
            });
        }
        before = (run.block, end);
        number_pages(run, pages, seen).ok_or(RefusalReason::Numbers(number))?;
        missing = missing.checked_sub(run.pages).ok_or(RefusalReason::Numbers(number))?;
    }
    if missing == 0 { Ok(()) } else { Err(RefusalReason::Missing(u64::from(missing))) }
}

/// Enters the numbers of a run's pages; `None` if one is beyond the set or has been entered before.
fn number_pages(run: &RunEntry, pages: u32, seen: &mut [u64]) -> Option<()> {
    let end = run.first.checked_add(run.pages).filter(|end| *end <= pages)?;
    for (word, mask) in masks(run.first..end) {
        let word = seen.get_mut(word)?;
        if *word & mask != 0 {
            return None;
        }
        *word |= mask;
    }
    Some(())
}
