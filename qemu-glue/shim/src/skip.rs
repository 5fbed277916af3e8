//! The set of one migration: taken over from the host, checked, then hinted and re-dirtied.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Acquire, Relaxed};

use page_number::{MAX_SET_BLOCKS, MAX_SET_PAGES, MAX_SET_RUNS};
use shim_abi::{
    CONFIRMED_AT, ControlPage, REDIRTIED_AT, REDIRTY_AT, RUNS_AT, RefusalReason, RunEntry,
};

use crate::bits::WORD;
use crate::checks::{self, Blocks};
use crate::control::Shared;
use crate::hypervisor::{Hypervisor, RamBlock};
use crate::mapping::{Private, SharedWords};

/// Words of a [`RunEntry`] in the shared table.
const RUN_WORDS: usize = size_of::<RunEntry>() / size_of::<u64>();

/// A checked set: its runs lie in blocks that QEMU sends, are in order, and number its pages 0, 1, ...
/// Blocks and runs are copies that nobody else can change.
pub(crate) struct Skip {
    pub(crate) blocks: Blocks,
    pub(crate) runs: Private<RunEntry>,
    pub(crate) pages: u32,
    /// The host's bits: installed at the destination.
    pub(crate) confirmed: SharedWords,
    /// The host's bits: to be sent after all.
    pub(crate) requested: SharedWords,
    /// What of them was taken over: [`ControlPage::redirty_requested`] at that time.
    pub(crate) requested_seen: u32,
    /// Re-dirtied, once and for all.
    pub(crate) given: Private<u64>,
    /// The same for the host, which believes it; what is re-dirtied is decided on `given` alone.
    pub(crate) reported: SharedWords,
    /// What is being re-dirtied right now.
    pub(crate) now: Private<u64>,
}

impl Skip {
    /// Copies and checks the armed set.
    ///
    /// # Errors
    /// The first reason why it must not be hinted.
    pub(crate) fn take(shared: &Shared, vm: &impl Hypervisor) -> Result<Self, RefusalReason> {
        if let Some(setting) = vm.clash() {
            return Err(RefusalReason::Setting(setting));
        }
        if !vm.is_running() {
            return Err(RefusalReason::NotRunning);
        }
        let Counts { blocks, runs, pages } = Counts::read(shared.control)?;
        let blocks = checks::blocks(shared, vm, blocks)?;
        let runs = copy_runs(shared, runs)?;
        let words = pages.div_ceil(WORD) as usize;
        let mut given = Private::new(words)?;
        checks::runs(&runs, &blocks, pages, &mut given)?;
        // The check has used it to find page numbers that two runs have.
        given.fill(0);
        Ok(Self {
            blocks,
            runs,
            pages,
            confirmed: SharedWords::new(shared.file, CONFIRMED_AT, words)?,
            requested: SharedWords::new(shared.file, REDIRTY_AT, words)?,
            requested_seen: 0,
            given,
            reported: SharedWords::new(shared.file, REDIRTIED_AT, words)?,
            now: Private::new(words)?,
        })
    }

    /// The block of a run; the check has seen it.
    pub(crate) fn block(&self, index: u32) -> Option<&RamBlock> {
        self.blocks.get(index as usize)?.as_ref()
    }
}

/// How long the tables are.
struct Counts {
    blocks: usize,
    runs: usize,
    pages: u32,
}

impl Counts {
    fn read(control: &ControlPage) -> Result<Self, RefusalReason> {
        let blocks = control.blocks.load(Relaxed) as usize;
        let runs = control.runs.load(Relaxed) as usize;
        let pages = control.pages.load(Relaxed);
        let fits = (1..=MAX_SET_BLOCKS).contains(&blocks)
            && (1..=MAX_SET_RUNS).contains(&runs)
            && (1..=MAX_SET_PAGES).contains(&pages);
        if fits { Ok(Self { blocks, runs, pages }) } else { Err(RefusalReason::Counts) }
    }
}

fn copy_runs(shared: &Shared, count: usize) -> Result<Private<RunEntry>, RefusalReason> {
    let table = SharedWords::new(shared.file, RUNS_AT, count.saturating_mul(RUN_WORDS))?;
    let mut copy = Private::new(count)?;
    for (to, from) in copy.iter_mut().zip(table.chunks_exact(RUN_WORDS)) {
        if let [offset, numbers, block] = from {
            *to = run(offset, numbers, block);
        }
    }
    Ok(copy)
}

/// A run from its words, of which the first half lies in the low bits (this machine is little-endian).
fn run(offset: &AtomicU64, numbers: &AtomicU64, block: &AtomicU64) -> RunEntry {
    let halves = |word: &AtomicU64| {
        let word = word.load(Acquire);
        (word as u32, (word >> 32) as u32)
    };
    let ((first, pages), (block, reserved)) = (halves(numbers), halves(block));
    RunEntry { offset: offset.load(Acquire), first, pages, block, reserved }
}
