//! The scan's harvest: pages that may be left out but for their place, in file order.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;

use super::ListError;
use super::lsn::find_detached;
use super::noted::Noted;
use super::threads::both;
use crate::classify::{Classifier, Reason};
use crate::memory::ServerAddr;
use crate::residency::Residency;
use crate::scan::{scan_blocks, scan_buffer};
use crate::server::Server;

/// An eligible page, but for its place.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    pub(super) space: u32,
    pub(super) page: u32,
    pub(super) block: u32,
}

impl Candidate {
    pub(super) const fn key(&self) -> u64 {
        (self.space as u64) << 32 | self.page as u64
    }
}

/// Blocks left out, by reason. There are few reasons, so a list is quicker than a map.
#[derive(Default)]
pub(super) struct LeftOut {
    counts: Vec<(Reason, u64)>,
}

impl LeftOut {
    #[inline]
    pub(super) fn add(&mut self, reason: Reason) {
        self.add_many(reason, 1);
    }

    #[inline]
    fn add_many(&mut self, reason: Reason, more: u64) {
        match self.counts.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += more,
            None => self.counts.push((reason, more)),
        }
    }

    fn join(&mut self, other: Self) {
        for (reason, count) in other.counts {
            self.add_many(reason, count);
        }
    }

    /// Counts by stable name.
    pub(super) fn names(&self) -> BTreeMap<String, u64> {
        let mut names = BTreeMap::new();
        for (reason, count) in &self.counts {
            *names.entry(reason.name().to_owned()).or_default() += count;
        }
        names
    }
}

/// Blocks that a thread takes at a time: the frames are translated beside, so halves would not end
/// together.
const SHARE_BLOCKS: u32 = 1 << 14;

/// What one thread or both together found.
#[derive(Default)]
pub(super) struct Found {
    /// Sorted by space and page.
    pub(super) candidates: Vec<Candidate>,
    pub(super) left_out: LeftOut,
    /// Descriptors that had to be read.
    pub(super) judged: u64,
}

/// Judges the blocks of `unknown` that are not on the list, on two threads, and notes those that can
/// be.
pub(super) fn find(
    server: &Server,
    residency: Option<&Residency>,
    unknown: Vec<Range<u32>>,
    noted: &Noted,
) -> Result<Found, ListError> {
    let shares = Shares(Mutex::new(unknown));
    let (first, second) = both(
        || find_some(server, residency, &shares, noted),
        || find_some(server, residency, &shares, noted),
    );
    let (mut found, other) = (first?, second?);
    found.candidates.extend_from_slice(&other.candidates);
    found.left_out.join(other.left_out);
    found.judged += other.judged;
    // Stable, as that sort finds the two sorted halves and only merges them.
    found.candidates.sort_by_key(Candidate::key);
    Ok(found)
}

/// Ranges of blocks, cut into pieces of [`SHARE_BLOCKS`]; taken from the end.
struct Shares(Mutex<Vec<Range<u32>>>);

impl Shares {
    /// The next blocks to look at: one piece, or several small ones.
    fn next(&self) -> Option<Vec<Range<u32>>> {
        let mut left = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (mut share, mut blocks) = (Vec::new(), 0);
        while blocks < SHARE_BLOCKS
            && let Some(mut range) = left.pop()
        {
            let first = range.end.saturating_sub(SHARE_BLOCKS - blocks).max(range.start);
            if range.start < first {
                left.push(range.start..first);
                range.start = first;
            }
            blocks += range.end - range.start;
            share.push(range);
        }
        (!share.is_empty()).then_some(share)
    }
}

/// As [`find`], of the blocks that this thread takes from `shares`.
fn find_some(
    server: &Server,
    residency: Option<&Residency>,
    shares: &Shares,
    noted: &Noted,
) -> Result<Found, ListError> {
    let (memory, layout, geometry) = (server.memory(), &server.layout, &server.geometry);
    let mut classifier = Classifier::new(memory, layout, residency);
    let mut found = Found::default();
    let mut changed = Vec::new();
    let mut buffer = scan_buffer(layout);
    let mut words = Vec::new();
    while let Some(share) = shares.next() {
        for range in share {
            // Before any descriptor is read: an event after that makes a judgement void.
            words.clear();
            let word = |block| residency.map_or(0, |residency| residency.table().word(block));
            words.extend(range.clone().map(word));
            let Found { candidates, left_out, judged } = &mut found;
            scan_blocks(memory, layout, geometry, range.clone(), &mut buffer, &mut |block| {
                if noted.has(block.index) {
                    return;
                }
                *judged += 1;
                match classifier.classify(&block).reason {
                    None => {
                        noted.note(block.index, words[(block.index - range.start) as usize]);
                        if residency.is_none() && block.newest_lsn() != 0 {
                            changed.push((candidates.len(), (block.frame(), block.newest_lsn())));
                        }
                        candidates.push(Candidate {
                            space: block.space(),
                            page: block.page(),
                            block: block.index,
                        });
                    }
                    Some(reason) => left_out.add(reason),
                }
            })?;
        }
    }
    remove_detached(server, &changed, &mut found);
    found.candidates.sort_unstable_by_key(Candidate::key);
    Ok(found)
}

/// Applies the LSN test to the candidates that were changed since they were read.
fn remove_detached(server: &Server, changed: &[(usize, (ServerAddr, u64))], found: &mut Found) {
    let pages: Vec<_> = changed.iter().map(|(_, page)| *page).collect();
    let mut gone = Vec::new();
    find_detached(server.memory(), &pages, |index| gone.push(changed[index].0));
    for index in gone.into_iter().rev() {
        found.candidates.swap_remove(index);
        found.left_out.add(Reason::Detached);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_all_of_the_ranges_once() {
        let ranges = vec![0..3, 10..11, 20..20 + 3 * SHARE_BLOCKS];
        let shares = Shares(Mutex::new(ranges.clone()));
        let mut taken = Vec::new();
        while let Some(share) = shares.next() {
            assert!(share.iter().map(Range::len).sum::<usize>() <= SHARE_BLOCKS as usize);
            taken.extend(share.into_iter().flatten());
        }
        taken.sort_unstable();
        assert_eq!(taken, ranges.into_iter().flatten().collect::<Vec<_>>());
    }
}
