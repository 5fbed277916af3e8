//! The scan's harvest: pages that may be left out but for their place, in file order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use super::ListError;
use super::judge::{Judge, Reason};
use super::lsn::find_detached;
use super::threads::both;
use crate::memory::ServerAddr;
use crate::residency::Residency;
use crate::scan::{Block, scan_blocks, scan_buffer};
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

/// What one thread or both together found.
type Found<'a> = (Vec<Candidate>, LeftOut<'a>);

/// Blocks that a thread takes at a time: the frames are translated beside, so halves would not end
/// together.
const SHARE_BLOCKS: u32 = 1 << 14;

/// Scans and judges on two threads; the candidates are sorted by space and page.
pub(super) fn find<'a>(
    server: &'a Server,
    residency: Option<&'a Residency>,
) -> Result<Found<'a>, ListError> {
    let next = AtomicU32::new(0);
    let (first, second) =
        both(|| find_some(server, residency, &next), || find_some(server, residency, &next));
    let ((mut candidates, mut left_out), (others, others_left_out)) = (first?, second?);
    candidates.extend_from_slice(&others);
    drop(others);
    left_out.join(others_left_out);
    // Stable, as that sort finds the two sorted halves and only merges them.
    candidates.sort_by_key(Candidate::key);
    Ok((candidates, left_out))
}

/// As [`find`], of the blocks that this thread takes from `next`.
fn find_some<'a>(
    server: &'a Server,
    residency: Option<&'a Residency>,
    next: &AtomicU32,
) -> Result<Found<'a>, ListError> {
    let (memory, layout, geometry) = (server.memory(), &server.layout, &server.geometry);
    let mut judge = Judge::new(server, residency);
    let mut candidates = Vec::new();
    let mut left_out = LeftOut::default();
    let mut changed = Vec::new();
    let mut take = |block: Block<'_>| match judge.judge(&block) {
        (_, None) => {
            let newest = block.newest_lsn();
            if residency.is_none() && newest != 0 {
                changed.push((candidates.len(), (block.frame(), newest)));
            }
            candidates.push(Candidate {
                space: block.space(),
                page: block.page(),
                block: block.index,
            });
        }
        (_, Some(reason)) => left_out.add(reason),
    };
    let mut buffer = scan_buffer(layout);
    loop {
        let first = next.fetch_add(SHARE_BLOCKS, Ordering::Relaxed);
        if first >= geometry.blocks() {
            break;
        }
        let share = first..first.saturating_add(SHARE_BLOCKS);
        scan_blocks(memory, layout, geometry, share, &mut buffer, &mut take)?;
    }
    remove_detached(server, &changed, &mut candidates, &mut left_out);
    candidates.sort_unstable_by_key(Candidate::key);
    Ok((candidates, left_out))
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
