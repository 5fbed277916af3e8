//! The buffer pool of an InnoDB server as a source of pages: a slot is a block, an object a tablespace.

use std::ops::Range;
use std::sync::Mutex;

use super::{Candidate, Harvest, Judged, PageKey, PageSource, SlotRange};
use crate::classify::{Classifier, Reason};
use crate::locate::{NotOnDisk, PageNo, SpaceId, Tablespaces};
use crate::memory::{Memory, ServerAddr};
use crate::on_disk::{FileRange, Files};
use crate::page_list::{BuildError, both};
use crate::residency::Residency;
use crate::scan::{scan_blocks, scan_buffer};
use crate::server::Server;

/// Offset of `FIL_PAGE_LSN` in a page.
const FIL_PAGE_LSN: u64 = 16;
/// Frames read by one system call.
const BATCH: usize = 1024;

/// Pages of a server's pool. With a residency table each page's word of the probes counts; without one, the LSN in
/// the frame of each page that was changed since it was read.
pub struct PoolSource<'a> {
    server: &'a Server,
    residency: Option<&'a Residency>,
    tablespaces: &'a Tablespaces,
}

impl<'a> PoolSource<'a> {
    /// Of a server whose files are these.
    #[must_use]
    pub const fn new(
        server: &'a Server,
        residency: Option<&'a Residency>,
        tablespaces: &'a Tablespaces,
    ) -> Self {
        Self { server, residency, tablespaces }
    }
}

impl PageSource for PoolSource<'_> {
    fn page_bytes(&self) -> u32 {
        self.server.pool_map.page_size
    }

    fn memory(&self) -> impl Iterator<Item = SlotRange> {
        let chunks = self.server.pool_map.chunks.iter();
        chunks.map(|chunk| SlotRange { at: chunk.frames, slots: chunk.blocks })
    }

    fn files(&self) -> &dyn Files {
        self.tablespaces
    }

    /// Judges the blocks on two threads.
    fn find(&self, unknown: Vec<Range<u32>>, judged: &Judged) -> Result<Harvest, BuildError> {
        let shares = Shares(Mutex::new(unknown));
        let (first, second) =
            both(|| self.find_some(&shares, judged), || self.find_some(&shares, judged));
        let (mut found, other) = (first?, second?);
        found.candidates.extend_from_slice(&other.candidates);
        found.left_out.join(other.left_out);
        found.judged += other.judged;
        // Stable, as that sort finds the two sorted halves and only merges them.
        found.candidates.sort_by_key(Candidate::order);
        Ok(found)
    }

    fn range(&self, page: PageKey) -> Result<(FileRange, u32), Reason> {
        let (space, number) = (SpaceId(page.object), PageNo(page.page));
        let range = self.tablespaces.lookup(space, number).map_err(Reason::NotOnDisk)?;
        // A pool's pages all have one size; those of a compressed space are smaller on disk.
        if range.len_bytes != self.page_bytes() {
            return Err(Reason::NotOnDisk(NotOnDisk::Compressed));
        }
        Ok((range, self.tablespaces.pages_after(space, number)))
    }

    fn has_words(&self) -> bool {
        self.residency.is_some()
    }

    #[inline]
    fn word(&self, block: u32) -> u32 {
        self.residency.map_or(0, |residency| residency.table().word(block))
    }

    fn edition(&self) -> u64 {
        self.residency.map_or(0, Residency::repairs)
    }

    fn slots(&self) -> u32 {
        self.server.pool_map.blocks()
    }
}

/// Blocks that a thread takes at a time: the frames are translated beside, so halves would not end
/// together.
const SHARE_BLOCKS: u32 = 1 << 14;

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

impl PoolSource<'_> {
    /// Judges the blocks that this thread takes from `shares`.
    fn find_some(&self, shares: &Shares, judged: &Judged) -> Result<Harvest, BuildError> {
        let (server, residency) = (self.server, self.residency);
        let (memory, layout, pool_map) = (server.memory(), &server.layout, &server.pool_map);
        let mut classifier = Classifier::new(memory, layout, residency);
        let mut found = Harvest::default();
        let mut changed = Vec::new();
        let mut buffer = scan_buffer(layout);
        let mut words = Vec::new();
        while let Some(share) = shares.next() {
            for range in share {
                // Before any descriptor is read: an event after that makes a judgement void.
                words.clear();
                words.extend(range.clone().map(|block| self.word(block)));
                let Harvest { candidates, left_out, judged: looked_at } = &mut found;
                scan_blocks(memory, layout, pool_map, range.clone(), &mut buffer, &mut |block| {
                    if judged.has(block.index) {
                        return;
                    }
                    *looked_at += 1;
                    match classifier.classify(&block).reason {
                        None => {
                            judged.note(block.index, words[(block.index - range.start) as usize]);
                            if residency.is_none() && block.newest_lsn() != 0 {
                                let page = (block.frame(), block.newest_lsn());
                                changed.push((candidates.len(), page));
                            }
                            let key = PageKey { object: block.space(), page: block.page() };
                            candidates.push(Candidate { key, slot: block.index });
                        }
                        Some(reason) => left_out.add(reason),
                    }
                })?;
            }
        }
        remove_detached(server, &changed, &mut found);
        found.candidates.sort_unstable_by_key(Candidate::order);
        Ok(found)
    }
}

/// Applies the LSN test to the candidates that were changed since they were read.
fn remove_detached(server: &Server, changed: &[(usize, (ServerAddr, u64))], found: &mut Harvest) {
    let pages: Vec<_> = changed.iter().map(|(_, page)| *page).collect();
    let mut gone = Vec::new();
    find_detached(server.memory(), &pages, |index| gone.push(changed[index].0));
    for index in gone.into_iter().rev() {
        found.candidates.swap_remove(index);
        found.left_out.add(Reason::Detached);
    }
}

/// The LSN test, for lists that are made without probes: calls `detached` with the index of every page whose frame does
/// not carry its newest LSN.
///
/// A page that was changed and looks clean must have been written; a write stamps the page's newest LSN into its frame
/// (`FIL_PAGE_LSN`; buf0flu.cc, `buf_flush_init_for_writing`). A page that was taken off the flush list without a write
/// still has an older one there. `pages` are (frame, newest LSN); one that cannot be read counts as detached.
pub(in crate::page_list) fn find_detached(
    memory: Memory,
    pages: &[(ServerAddr, u64)],
    mut detached: impl FnMut(usize),
) {
    let mut stamps = [[0_u8; 8]; BATCH];
    for (number, batch) in pages.chunks(BATCH).enumerate() {
        let mut ranges: Vec<(ServerAddr, &mut [u8])> = batch
            .iter()
            .zip(&mut stamps)
            .map(|((frame, _), stamp)| (frame.plus(FIL_PAGE_LSN), stamp.as_mut_slice()))
            .collect();
        let got = memory.read_vectored(&mut ranges).unwrap_or(0) / 8;
        for (index, ((_, newest), stamp)) in batch.iter().zip(&stamps).enumerate() {
            if index >= got || u64::from_be_bytes(*stamp) != *newest {
                detached(number * BATCH + index);
            }
        }
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
