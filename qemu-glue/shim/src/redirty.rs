//! Re-dirtying: pages are marked as written, so that the sync that follows takes them up and QEMU sends them.
//!
//! On TCG the mark also means that a page has no translated code left (`memory_region_set_dirty`, 7.2 to
//! 11.0). If it does have some and the migration does not complete, a guest that changes that code may go
//! on with the old; buffer pools hold no code.

use core::sync::atomic::Ordering::{Acquire, Release};

use page_number::{MAX_THROTTLE_PAGES, PAGE_BYTES};
use shim_abi::ControlPage;

use crate::bits::{masks, stretches};
use crate::hypervisor::Hypervisor;
use crate::skip::Skip;

/// Which pages to re-dirty.
#[derive(Clone, Copy)]
enum Wanted {
    /// Those that the host requests.
    Requested,
    /// Those, and those that it has not confirmed.
    Unconfirmed,
}

impl Skip {
    /// Re-dirties what the host requests; returns how many pages. Looks only if there is a new request.
    pub(crate) fn redirty_requested(&mut self, vm: &impl Hypervisor, control: &ControlPage) -> u64 {
        let requested = control.redirty_requested.load(Acquire);
        if requested == self.requested_seen {
            return 0;
        }
        self.requested_seen = requested;
        self.redirty(vm, Wanted::Requested)
    }

    /// Re-dirties all that is not confirmed; returns how many pages.
    pub(crate) fn redirty_unconfirmed(&mut self, vm: &impl Hypervisor) -> u64 {
        self.redirty(vm, Wanted::Unconfirmed)
    }

    /// Marks the pages of block 0 that are in no set, up to `pages` of them.
    pub(crate) fn throttle(&self, vm: &impl Hypervisor, pages: u32) {
        if let Some(block) = self.block(0) {
            let bytes = u64::from(pages.min(MAX_THROTTLE_PAGES)) * PAGE_BYTES;
            vm.mark_dirty(block, 0, bytes.min(block.length));
        }
    }

    fn redirty(&mut self, vm: &impl Hypervisor, wanted: Wanted) -> u64 {
        let count = self.decide(wanted);
        if count == 0 {
            return 0;
        }
        // Page numbers follow the storage and runs the RAM, so this touches bits all over the bitmap:
        // done only if there is a page to re-dirty, as the VM stands still at the last sync.
        for run in self.runs.iter() {
            let Some(block) = self.block(run.block) else { continue };
            let numbers = run.first..run.first.saturating_add(run.pages);
            let word = |word: usize| self.now.get(word).copied().unwrap_or(0);
            stretches(numbers, word, |first, pages| {
                let ahead = u64::from(first - run.first) * PAGE_BYTES;
                vm.mark_dirty(block, run.offset + ahead, u64::from(pages) * PAGE_BYTES);
            });
        }
        count
    }

    /// Enters into `now` and into `given` the pages to re-dirty that were not re-dirtied before. The
    /// host goes on writing its bits, so they are read once.
    fn decide(&mut self, wanted: Wanted) -> u64 {
        let mut count = 0;
        let host = self.requested.iter().zip(self.confirmed.iter());
        let own = self.given.iter_mut().zip(self.now.iter_mut()).zip(self.reported.iter());
        for (((requested, confirmed), ((given, now), reported)), (_, mask)) in
            host.zip(own).zip(masks(0..self.pages))
        {
            let unconfirmed = match wanted {
                Wanted::Requested => 0,
                Wanted::Unconfirmed => !confirmed.load(Acquire),
            };
            *now = (requested.load(Acquire) | unconfirmed) & mask & !*given;
            *given |= *now;
            // A word without news stays a hole of the file.
            if *now != 0 {
                reported.fetch_or(*now, Release);
            }
            count += u64::from(now.count_ones());
        }
        count
    }
}
