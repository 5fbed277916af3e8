//! What has become of each page of the set, as the source knows it.

use std::ops::Range;

use fixedbitset::FixedBitSet;

use super::hash_window::HashWindow;
use crate::channel::SetRange;
use crate::source::hash::HashLimit;

/// Two bits a page: its hash was sent; it is settled (installed, zero or re-dirtied).
#[derive(Debug, Default)]
pub(in crate::source) struct Ledger {
    hashed: FixedBitSet,
    settled: FixedBitSet,
    pages: u32,
    installed: u64,
    zero: u64,
    redirtied: u64,
    /// Pages that the library has re-dirtied by itself.
    by_library: u64,
    /// Pages whose hash was sent and that are not settled.
    in_flight: u64,
    /// In the order of the set; zero pages are in none.
    windows: Vec<HashWindow>,
    /// All pages from this one on are settled.
    tail: u32,
}

/// A destination that settles pages which it cannot know yet.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(in crate::source) enum LedgerError {
    /// Beyond the set.
    #[error("pages {0}.. of the set do not exist")]
    Beyond(u32),
    /// The hash of a page has not been sent.
    #[error("page {0} of the set cannot be installed: its hash was not sent")]
    NotHashed(u32),
}

impl Ledger {
    /// A ledger of `pages` pages of one device.
    #[cfg(test)]
    pub(in crate::source) fn new(pages: u32) -> Self {
        Self::of_devices(pages, std::slice::from_ref(&(0..pages)))
    }

    /// A ledger of `pages` pages, of which devices have these, in their order.
    pub(in crate::source) fn of_devices(pages: u32, devices: &[Range<u32>]) -> Self {
        let bits = || FixedBitSet::with_capacity(pages as usize);
        let windows = HashWindow::of_devices(pages, devices);
        Self { hashed: bits(), settled: bits(), pages, tail: pages, windows, ..Self::default() }
    }

    /// Hashes of these pages go out now.
    pub(in crate::source) fn hash_sent(&mut self, range: SetRange) {
        if let Ok(range) = self.inside(range) {
            let fresh = (range.0..range.1).filter(|page| {
                let page = *page as usize;
                !self.hashed.contains(page) && !self.settled.contains(page)
            });
            self.in_flight += fresh.count() as u64;
            self.hashed.insert_range(index(range));
        }
    }

    /// The destination accounts for these pages. Gives the ranges that were not settled before.
    ///
    /// # Errors
    /// [`LedgerError`]: the destination contradicts itself.
    pub(in crate::source) fn installed(
        &mut self,
        range: SetRange,
    ) -> Result<Vec<SetRange>, LedgerError> {
        let (first, end) = self.inside(range)?;
        if !self.hashed.contains_all_in_range(index((first, end))) {
            let page = (first..end).find(|page| !self.hashed.contains(*page as usize));
            return Err(LedgerError::NotHashed(page.unwrap_or(first)));
        }
        let fresh = self.settle((first, end));
        self.installed += pages(&fresh);
        Ok(fresh)
    }

    /// These pages are all zeros, as they are at the destination. Gives the ranges that were not settled
    /// before.
    ///
    /// # Errors
    /// [`LedgerError::Beyond`].
    pub(in crate::source) fn zero(
        &mut self,
        range: SetRange,
    ) -> Result<Vec<SetRange>, LedgerError> {
        let range = self.inside(range)?;
        let fresh = self.settle(range);
        self.zero += pages(&fresh);
        Ok(fresh)
    }

    /// These pages are re-dirtied. Gives the ranges that were not settled before.
    ///
    /// # Errors
    /// [`LedgerError::Beyond`].
    pub(in crate::source) fn redirtied(
        &mut self,
        range: SetRange,
    ) -> Result<Vec<SetRange>, LedgerError> {
        let range = self.inside(range)?;
        let fresh = self.settle(range);
        self.redirtied += pages(&fresh);
        Ok(fresh)
    }

    /// The library has re-dirtied these pages, on its own or on request. Gives the ranges that were not settled before.
    pub(in crate::source) fn follow(&mut self, range: SetRange) -> Vec<SetRange> {
        // It knows the set.
        let Ok(range) = self.inside(range) else { return Vec::new() };
        let fresh = self.settle(range);
        self.by_library += pages(&fresh);
        fresh
    }

    /// The last `wanted` pages of the set that are not settled are re-dirtied: first those of which no hash was asked
    /// for, as storage is about to bring the others. Gives their ranges, from the back.
    pub(in crate::source) fn redirty_last(&mut self, wanted: u64) -> Vec<SetRange> {
        let mut ranges = Vec::new();
        let mut left = u32::try_from(wanted).unwrap_or(u32::MAX);
        let settled = &self.settled;
        let windows = self.windows.iter_mut().rev();
        let last: Vec<_> = windows.map(|window| window.not_requested(settled)).collect();
        for pages in last {
            self.redirty_back(pages.start, pages.end, &mut left, &mut ranges);
        }
        let first = self.redirty_back(0, self.tail, &mut left, &mut ranges);
        self.tail = first;
        self.redirtied += pages(&ranges);
        ranges
    }

    /// Up to `left` pages from `first` to `end` that are not settled, from the back; gives from where on all are.
    fn redirty_back(
        &mut self,
        first: u32,
        mut end: u32,
        left: &mut u32,
        ranges: &mut Vec<SetRange>,
    ) -> u32 {
        loop {
            while end > first && self.settled.contains(end as usize - 1) {
                end -= 1;
            }
            let run = (first..end).rev().take(*left as usize);
            let count = run.take_while(|page| !self.settled.contains(*page as usize)).count();
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            if count == 0 {
                return end;
            }
            ranges.extend(self.settle((end - count, end)));
            *left -= count;
            end -= count;
        }
    }

    /// Pages from `first` on whose hash was never sent are re-dirtied, unless they are settled. Gives their ranges.
    pub(in crate::source) fn redirty_unhashed(&mut self, first: u32) -> Vec<SetRange> {
        let mut known = self.hashed.clone();
        known.union_with(&self.settled);
        known.insert_range(..first.min(self.pages) as usize);
        let mut fresh = Vec::new();
        let mut page = 0;
        while let Some(begun) = (page..self.pages).find(|page| !known.contains(*page as usize)) {
            page = (begun..self.pages)
                .find(|page| known.contains(*page as usize))
                .unwrap_or(self.pages);
            fresh.extend(self.settle((begun, page)));
        }
        self.redirtied += pages(&fresh);
        fresh
    }

    /// All pages that are not settled are re-dirtied.
    pub(in crate::source) fn redirty_rest(&mut self) -> Vec<SetRange> {
        let fresh = self.settle((0, self.pages));
        self.redirtied += pages(&fresh);
        fresh
    }

    /// Pages neither installed, nor zero, nor re-dirtied.
    #[must_use]
    pub(in crate::source) fn outstanding(&self) -> u64 {
        u64::from(self.pages) - self.installed - self.zero - self.redirtied - self.by_library
    }

    /// Pages whose hash was sent and that are not settled.
    #[must_use]
    pub(in crate::source) const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// How far the pages of each device may be hashed: until the destination holds enough hashes of it.
    pub(in crate::source) fn hash_limits(&mut self) -> Vec<HashLimit> {
        self.windows.iter_mut().map(|window| window.open(&self.settled)).collect()
    }

    /// Pages installed.
    #[must_use]
    pub(in crate::source) const fn installed_pages(&self) -> u64 {
        self.installed
    }

    /// Zero pages.
    #[must_use]
    pub(in crate::source) const fn zero_pages(&self) -> u64 {
        self.zero
    }

    /// Pages that QEMU sends after all, whatever the cause.
    #[must_use]
    pub(in crate::source) const fn redirtied_pages(&self) -> u64 {
        self.redirtied + self.by_library
    }

    /// Those of them that we have requested.
    #[must_use]
    pub(in crate::source) const fn requested_pages(&self) -> u64 {
        self.redirtied
    }

    fn inside(&self, range: SetRange) -> Result<(u32, u32), LedgerError> {
        let end = range.first.checked_add(range.count).filter(|end| *end <= self.pages);
        end.map(|end| (range.first, end)).ok_or(LedgerError::Beyond(range.first))
    }

    fn settle(&mut self, (first, end): (u32, u32)) -> Vec<SetRange> {
        let mut fresh: Vec<SetRange> = Vec::new();
        let mut page = first;
        while page < end {
            let begun = page;
            while page < end && !self.settled.contains(page as usize) {
                page += 1;
            }
            if page > begun {
                fresh.push(SetRange { first: begun, count: page - begun });
                let hashed = self.hashed.count_ones(index((begun, page)));
                self.in_flight -= hashed as u64;
                let fresh = begun..page;
                HashWindow::of_pages(&mut self.windows, &fresh)
                    .iter_mut()
                    .for_each(|window| window.settled(&fresh));
            }
            while page < end && self.settled.contains(page as usize) {
                page += 1;
            }
        }
        self.settled.insert_range(index((first, end)));
        fresh
    }
}

const fn index((first, end): (u32, u32)) -> Range<usize> {
    first as usize..end as usize
}

fn pages(ranges: &[SetRange]) -> u64 {
    ranges.iter().map(|range| u64::from(range.count)).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn range(first: u32, count: u32) -> SetRange {
        SetRange { first, count }
    }

    #[test]
    fn a_destination_cannot_place_what_it_has_not_been_told() {
        let mut ledger = Ledger::new(100);
        ledger.hash_sent(range(0, 10));
        assert_eq!(ledger.installed(range(5, 6)), Err(LedgerError::NotHashed(10)));
        assert_eq!(ledger.installed(range(95, 6)), Err(LedgerError::Beyond(95)));
        assert_eq!(ledger.installed(range(1, u32::MAX)), Err(LedgerError::Beyond(1)));
        assert_eq!(ledger.outstanding(), 100);
        assert_eq!(ledger.installed(range(2, 3)), Ok(vec![range(2, 3)]));
        assert_eq!(ledger.installed(range(0, 10)), Ok(vec![range(0, 2), range(5, 5)]));
        assert_eq!((ledger.outstanding(), ledger.installed_pages()), (90, 10));
        // Installed stays installed.
        assert_eq!(ledger.redirtied(range(8, 4)), Ok(vec![range(10, 2)]));
        assert_eq!(ledger.redirty_rest(), [range(12, 88)]);
        assert_eq!((ledger.outstanding(), ledger.requested_pages()), (0, 90));
    }

    #[test]
    fn in_flight_are_pages_whose_hash_is_out_until_they_are_settled() {
        let mut ledger = Ledger::new(100);
        ledger.redirtied(range(4, 2)).unwrap();
        ledger.hash_sent(range(0, 20));
        ledger.hash_sent(range(10, 10));
        assert_eq!(ledger.in_flight, 18, "once each, and none that is settled");
        ledger.installed(range(0, 6)).unwrap();
        assert_eq!(ledger.in_flight, 14);
        ledger.redirty_last(85);
        assert_eq!(ledger.in_flight, 9);
        ledger.redirty_rest();
        assert_eq!(ledger.in_flight, 0);
    }

    #[test]
    fn hashes_are_not_far_ahead_of_storage() {
        for (pages, most) in [(1000, 4096), (1 << 17, 1 << 13), (1 << 20, 1 << 15)] {
            let mut ledger = Ledger::new(pages);
            let mut sent = 0;
            while sent < pages && ledger.hash_limits()[0].until > sent {
                ledger.hash_sent(range(sent, 1));
                sent += 1;
            }
            assert_eq!(sent, most.min(pages), "of {pages} pages");
            ledger.installed(range(0, 1)).unwrap();
            let [limit] = ledger.hash_limits()[..] else { panic!() };
            assert!(limit.is_last || limit.until > sent, "one is settled, of {pages}");
        }
    }

    /// Two devices, of which the first settles nothing: all of the second is hashed, and the network gets what storage was
    /// not asked for.
    #[test]
    fn a_device_that_stalls_keeps_no_hash_of_another_back() {
        let (half, pages) = (10_000, 20_000);
        let mut ledger = Ledger::of_devices(pages, &[0..half, half..pages]);
        let mut sent = [0, half];
        loop {
            let limits = ledger.hash_limits();
            let fresh = limits[1].until - sent[1];
            for (sent, limit) in sent.iter_mut().zip(limits) {
                ledger.hash_sent(range(*sent, limit.until - *sent));
                *sent = limit.until;
            }
            if fresh == 0 {
                break;
            }
            ledger.installed(range(sent[1] - fresh, fresh)).unwrap();
        }
        assert_eq!(sent[1], pages, "all of the second device's");
        assert!((1..half / 2).contains(&sent[0]), "{} of the first one's", sent[0]);
        // Not the page before the last, which storage may be reading: there are others yet.
        assert_eq!(ledger.redirty_last(10), [range(half - 10, 10)]);
        let rest = u64::from(half - 10 - sent[0]);
        assert_eq!(ledger.redirty_last(rest), [range(sent[0], half - 10 - sent[0])]);
        assert_eq!(ledger.hash_limits()[0], HashLimit { until: sent[0], is_last: true });
        assert_eq!(ledger.redirty_last(1), [range(sent[0] - 1, 1)]);
    }

    #[test]
    fn zero_pages_need_no_hash_and_count_for_themselves() {
        let mut ledger = Ledger::new(100);
        assert_eq!(ledger.redirtied(range(3, 1)), Ok(vec![range(3, 1)]));
        assert_eq!(ledger.zero(range(0, 10)), Ok(vec![range(0, 3), range(4, 6)]));
        assert_eq!(ledger.zero(range(99, 2)), Err(LedgerError::Beyond(99)));
        assert_eq!(
            (ledger.zero_pages(), ledger.installed_pages(), ledger.outstanding()),
            (9, 0, 90)
        );
    }

    #[test]
    fn pages_without_hash_go_back_and_no_others() {
        let mut ledger = Ledger::new(100);
        ledger.zero(range(0, 4)).unwrap();
        ledger.hash_sent(range(10, 20));
        ledger.hash_sent(range(40, 50));
        ledger.installed(range(50, 10)).unwrap();
        ledger.redirtied(range(95, 5)).unwrap();
        let missing = [range(6, 4), range(30, 10), range(90, 5)];
        assert_eq!(ledger.redirty_unhashed(6), missing, "the zero pages are another thread's");
        assert_eq!((ledger.requested_pages(), ledger.outstanding()), (24, 62));
        assert_eq!(ledger.redirty_unhashed(6), []);
        assert_eq!(ledger.in_flight, 60);
        assert_eq!(Ledger::new(0).redirty_unhashed(3), []);
    }

    #[test]
    fn the_last_pages_go_first() {
        let mut ledger = Ledger::new(100);
        ledger.hash_sent(range(0, 100));
        ledger.installed(range(90, 5)).unwrap();
        assert_eq!(ledger.redirty_last(10), [range(95, 5), range(85, 5)]);
        assert_eq!(ledger.redirty_last(0), []);
        ledger.installed(range(0, 84)).unwrap();
        assert_eq!(ledger.redirty_last(u64::MAX), [range(84, 1)]);
        assert_eq!((ledger.outstanding(), ledger.requested_pages()), (0, 11));
        assert_eq!(ledger.redirty_last(1), []);
    }

    proptest! {
        #[test]
        fn every_page_is_settled_once(
            steps in proptest::collection::vec((any::<bool>(), 0_u32..300, 0_u32..80), 0..60),
        ) {
            let mut ledger = Ledger::new(256);
            ledger.hash_sent(range(0, 256));
            let mut model = [false; 256];
            for (place, first, count) in steps {
                let done = if place { ledger.installed(range(first, count)) } else { ledger.redirtied(range(first, count)) };
                let Ok(fresh) = done else {
                    prop_assert!(first + count > 256);
                    continue;
                };
                for page in fresh.iter().flat_map(|r| r.first..r.first + r.count) {
                    prop_assert!(!std::mem::replace(&mut model[page as usize], true));
                }
            }
            let settled = model.iter().filter(|settled| **settled).count() as u64;
            prop_assert_eq!(ledger.outstanding(), 256 - settled);
            prop_assert_eq!(ledger.in_flight, ledger.outstanding());
        }
    }
}
