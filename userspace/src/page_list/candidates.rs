//! The scan's harvest: pages that may be left out but for their place, in file order.
//!
//! With a residency table only what changed is read: a descriptor that an earlier list judged
//! eligible, and whose block has had no event since, is not read again. So the work of a list is done
//! while the server is watched, and a migration waits for the rest alone.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use super::ListError;
use super::judge::{Judge, Reason};
use super::lsn::find_detached;
use super::threads::both;
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
    const fn key(&self) -> u64 {
        (self.space as u64) << 32 | self.page as u64
    }
}

/// Blocks left out, by reason. There are few reasons, so a list is quicker than a map.
#[derive(Default)]
pub(super) struct LeftOut<'a> {
    counts: Vec<(Reason<'a>, u64)>,
}

impl<'a> LeftOut<'a> {
    #[inline]
    pub(super) fn add(&mut self, reason: Reason<'a>) {
        self.add_many(reason, 1);
    }

    #[inline]
    fn add_many(&mut self, reason: Reason<'a>, more: u64) {
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

/// A share of whose blocks more than one in so many must be read is read whole: reads of single
/// descriptors cost more than reads in a row.
const PIECEMEAL: usize = 16;

/// What one thread or both together found.
pub(super) struct Found<'a> {
    /// Sorted by space and page.
    pub(super) candidates: Vec<Candidate>,
    pub(super) left_out: LeftOut<'a>,
    /// Descriptors that had to be read.
    pub(super) judged: u64,
}

/// Judges every block on two threads.
pub(super) fn find<'a>(
    server: &'a Server,
    residency: Option<&'a Residency>,
) -> Result<Found<'a>, ListError> {
    let next = AtomicU32::new(0);
    let (first, second) =
        both(|| find_some(server, residency, &next), || find_some(server, residency, &next));
    let (mut found, other) = (first?, second?);
    found.candidates.extend_from_slice(&other.candidates);
    found.left_out.join(other.left_out);
    found.judged += other.judged;
    // Stable, as that sort finds the two sorted halves and only merges them.
    found.candidates.sort_by_key(Candidate::key);
    Ok(found)
}

/// As [`find`], of the blocks that this thread takes from `next`.
fn find_some<'a>(
    server: &'a Server,
    residency: Option<&'a Residency>,
    next: &AtomicU32,
) -> Result<Found<'a>, ListError> {
    let (memory, layout, geometry) = (server.memory(), &server.layout, &server.geometry);
    let mut judge = Judge::new(server, residency);
    let mut found = Found { candidates: Vec::new(), left_out: LeftOut::default(), judged: 0 };
    let mut changed = Vec::new();
    let mut buffer = scan_buffer(layout);
    let mut share = Share::default();
    loop {
        let first = next.fetch_add(SHARE_BLOCKS, Ordering::Relaxed);
        if first >= geometry.blocks() {
            break;
        }
        let end = first.saturating_add(SHARE_BLOCKS).min(geometry.blocks());
        share.look(first..end, residency, &mut found.candidates);
        let Found { candidates, left_out, judged } = &mut found;
        for range in &share.unknown {
            scan_blocks(memory, layout, geometry, range.clone(), &mut buffer, &mut |block| {
                *judged += 1;
                let (_, reason) = judge.judge(&block);
                if let Some(residency) = residency {
                    let word = reason.is_none().then(|| share.word(block.index));
                    residency.note_eligible(block.index, word);
                } else if reason.is_none() && block.newest_lsn() != 0 {
                    changed.push((candidates.len(), (block.frame(), block.newest_lsn())));
                }
                match reason {
                    None => candidates.push(Candidate {
                        space: block.space(),
                        page: block.page(),
                        block: block.index,
                    }),
                    Some(reason) => left_out.add(reason),
                }
            })?;
        }
    }
    remove_detached(server, &changed, &mut found.candidates, &mut found.left_out);
    found.candidates.sort_unstable_by_key(Candidate::key);
    Ok(found)
}

/// Blocks that a thread took, and which of them it has to read.
#[derive(Default)]
struct Share {
    first: u32,
    /// The entries' words before any descriptor is read: an event after that makes a judgement void.
    words: Vec<u32>,
    /// Blocks whose descriptors must be read.
    unknown: Vec<Range<u32>>,
}

impl Share {
    /// Adds the blocks of `range` that are known to be eligible to `candidates`; the others are left
    /// in `unknown`.
    fn look(
        &mut self,
        range: Range<u32>,
        residency: Option<&Residency>,
        candidates: &mut Vec<Candidate>,
    ) {
        self.first = range.start;
        self.words.clear();
        self.unknown.clear();
        let Some(residency) = residency else {
            self.unknown.push(range);
            return;
        };
        let before = candidates.len();
        let mut unknown = 0;
        for block in range.clone() {
            let word = residency.table().word(block);
            self.words.push(word);
            if let Some(known) = residency.still_eligible(block, word) {
                candidates.push(Candidate { space: known.space, page: known.page, block });
                continue;
            }
            unknown += 1;
            match self.unknown.last_mut() {
                Some(last) if last.end == block => last.end += 1,
                _ => self.unknown.push(block..block + 1),
            }
        }
        if self.unknown.len() > range.len() / PIECEMEAL && unknown < range.len() {
            candidates.truncate(before);
            self.unknown.clear();
            self.unknown.push(range);
        }
    }

    fn word(&self, block: u32) -> u32 {
        self.words.get((block - self.first) as usize).copied().unwrap_or(0)
    }
}

/// Applies the LSN test to the candidates that were changed since they were read.
fn remove_detached(
    server: &Server,
    changed: &[(usize, (ServerAddr, u64))],
    candidates: &mut Vec<Candidate>,
    left_out: &mut LeftOut<'_>,
) {
    let pages: Vec<_> = changed.iter().map(|(_, page)| *page).collect();
    let mut gone = Vec::new();
    find_detached(server.memory(), &pages, |index| gone.push(changed[index].0));
    for index in gone.into_iter().rev() {
        candidates.swap_remove(index);
        left_out.add(Reason::Detached);
    }
}
