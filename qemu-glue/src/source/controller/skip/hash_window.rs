//! How far the pages of a device may be hashed: until the destination holds enough hashes of it.

use std::ops::{Range, RangeInclusive};

use fixedbitset::FixedBitSet;

use crate::source::hash::{BATCH_PAGES, HashLimit};

/// Pages that are hashed ahead of storage, at most: a 16th of the set, from 16 MiB of RAM to 128 MiB, which has 1 MiB of
/// hashes. More would not make storage faster, and pages that the network gets instead need no hash.
const AHEAD: RangeInclusive<u64> = 1 << 12..=1 << 15;
/// A device has its share of them, and no fewer than these: one that settles nothing uses up its own.
const AHEAD_OF_ONE: u64 = 1 << 10;

/// The window of one device, whose pages follow each other in the set. The ledger knows which pages are settled; they
/// stay so, and none is looked at twice.
#[derive(Clone, Debug)]
pub(in crate::source::controller) struct HashWindow {
    pages: Range<u32>,
    /// Pages from here on may not be hashed yet.
    until: u32,
    /// Pages from here on are settled.
    tail: u32,
    /// Pages before `until` that are not settled, and how many there may be.
    ahead: u64,
    most: u64,
}

impl HashWindow {
    /// One for each device of a set of `pages` pages, of which the devices have these, in their order.
    pub(in crate::source::controller) fn of_devices(
        pages: u32,
        devices: &[Range<u32>],
    ) -> Vec<Self> {
        let most = u64::from(pages / 16).clamp(*AHEAD.start(), *AHEAD.end());
        let all: u64 = devices.iter().map(|of_it| u64::from(of_it.end - of_it.start)).sum();
        let window = |of_it: &Range<u32>| {
            let share = most * u64::from(of_it.end - of_it.start) / all.max(1);
            let most = share.max(AHEAD_OF_ONE.min(most));
            Self { pages: of_it.clone(), until: of_it.start, tail: of_it.end, ahead: 0, most }
        };
        devices.iter().map(window).collect()
    }

    /// Pages that no hash was asked for, but for those at the end that are settled.
    pub(in crate::source::controller) fn not_requested(
        &mut self,
        settled: &FixedBitSet,
    ) -> Range<u32> {
        while self.tail > self.until && settled.contains(self.tail as usize - 1) {
            self.tail -= 1;
        }
        self.until..self.tail
    }

    /// Opens it as far as it may be, and gives its end.
    pub(in crate::source::controller) fn open(&mut self, settled: &FixedBitSet) -> HashLimit {
        self.not_requested(settled);
        while self.ahead < self.most && self.until < self.tail {
            let end = self.until.saturating_add(BATCH_PAGES).min(self.tail);
            let of_them = settled.count_ones(self.until as usize..end as usize);
            self.ahead += u64::from(end - self.until) - of_them as u64;
            self.until = end;
        }
        HashLimit { until: self.until, is_last: self.until >= self.tail }
    }

    /// These pages are settled, and were not.
    pub(in crate::source::controller) fn settled(&mut self, fresh: &Range<u32>) {
        let end = fresh.end.min(self.until);
        let ahead = end.saturating_sub(fresh.start.max(self.pages.start));
        self.ahead -= u64::from(ahead);
    }

    /// The windows that have some of these pages, of windows in their order.
    pub(in crate::source::controller) fn of_pages<'a>(
        windows: &'a mut [Self],
        pages: &Range<u32>,
    ) -> &'a mut [Self] {
        let first = windows.partition_point(|window| window.pages.end <= pages.start);
        let end = windows.partition_point(|window| window.pages.start < pages.end);
        &mut windows[first..end.max(first)]
    }
}
