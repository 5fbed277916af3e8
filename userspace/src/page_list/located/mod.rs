//! The located pages of a list in its order, with their frames: kept from one list to the next.

mod devices;
mod frame_table;
mod page_locator;
mod runs;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;

use page_wire::{EncodeError, Encoder, RUN_BYTES, Run};

pub(super) use self::frame_table::FrameTable;
pub(super) use self::page_locator::PageLocator;
use self::page_locator::{Extent, page_frames};
use self::runs::{Half, Whole};
use super::both;
use super::source::{Candidate, Judged, LeftOut, PageSource};
use crate::classify::Reason;
use crate::frames::Frame;
use crate::on_disk::DiskFinder;

/// All pages of a list.
#[derive(Default)]
pub(super) struct Located {
    /// In the order of the list.
    whole: Vec<Whole>,
    /// Their frames, `per_page` each, in the same order: the table by slot is far larger than any
    /// cache, so it is looked into once a page and not at every pass.
    frames: Vec<Frame>,
    /// Runs of pages that lie in several pieces; few, and in the order of the list. They are placed
    /// anew for each list.
    pieces: Vec<Run>,
    cut: u64,
    per_page: usize,
    /// No page lacks a frame.
    complete: bool,
    /// Number of runs of each half, once counted.
    runs: Option<[u64; 2]>,
}

impl Located {
    /// Takes out what is judged no more.
    pub(super) fn retain(&mut self, judged: &Judged) {
        self.runs = None;
        if self.has_frames() {
            self.compact(|page, _| judged.has(page.slot));
        } else {
            self.whole.retain(|page| judged.has(page.slot));
        }
    }

    /// Whether the frames are those of the pages, each at its page.
    fn has_frames(&self) -> bool {
        self.frames.len() == self.whole.len() * self.per_page.max(1)
    }

    /// Keeps the pages, and their frames, for which `keep` is true.
    fn compact(&mut self, mut keep: impl FnMut(&Whole, &[Frame]) -> bool) {
        let Self { whole, frames, per_page, .. } = self;
        let per_page = (*per_page).max(1);
        let mut kept = 0;
        for page in 0..whole.len() {
            let own = page * per_page..(page + 1) * per_page;
            if keep(&whole[page], &frames[own.clone()]) {
                whole[kept] = whole[page];
                frames.copy_within(own, kept * per_page);
                kept += 1;
            }
        }
        whole.truncate(kept);
        frames.truncate(kept * per_page);
    }

    /// Puts pages, which are sorted, where they belong among the others, from the last to the first; their
    /// frames come from the table.
    ///
    /// A page that is there already has moved to another slot. It is in one only, and `added` was judged
    /// later: the slot of before has lost it.
    fn merge(&mut self, added: &[Whole], table: &[Frame], judged: &Judged, left_out: &mut LeftOut) {
        self.runs = None;
        let per_page = self.per_page.max(1);
        let (mut from, mut to) = (self.whole.len(), self.whole.len() + added.len());
        self.whole.extend_from_slice(added);
        self.frames.resize(to * per_page, Frame::ABSENT);
        for page in added.iter().rev() {
            while from > 0 && self.whole[from - 1].key() > page.key() {
                (from, to) = (from - 1, to - 1);
                self.whole[to] = self.whole[from];
                self.frames.copy_within(from * per_page..(from + 1) * per_page, to * per_page);
            }
            if from > 0 && self.whole[from - 1].key() == page.key() {
                from -= 1;
                judged.forget(self.whole[from].slot);
                left_out.add(Reason::Unsettled);
            }
            to -= 1;
            self.whole[to] = *page;
            let own = &mut self.frames[to * per_page..(to + 1) * per_page];
            self.complete &= copy_frames(&[*page], table, own, per_page);
        }
        // The room of those that have gone.
        self.whole.drain(from..to);
        self.frames.drain(from * per_page..to * per_page);
    }

    /// Drops, of sorted pages, all that were found in several slots: they were moved while the source
    /// looked, and which slot was judged last is not known. All of their slots are judged anew for
    /// the next list. Runs of such a page would not be in the list's order.
    fn drop_twins(&mut self, added: &mut Vec<Whole>, judged: &Judged, left_out: &mut LeftOut) {
        if added.is_sorted_by(|a, b| a.key() < b.key()) {
            return;
        }
        let mut single = Vec::with_capacity(added.len());
        let mut forget = |page: &Whole| {
            judged.forget(page.slot);
            left_out.add(Reason::Unsettled);
        };
        for same in added.chunk_by(|a, b| a.key() == b.key()) {
            if let [page] = same {
                single.push(*page);
                continue;
            }
            same.iter().for_each(&mut forget);
            // Where it was by the last list it is not any more.
            let old = self.whole.binary_search_by_key(&same[0].key(), Whole::key);
            old.iter().for_each(|old| forget(&self.whole[*old]));
        }
        *added = single;
        self.retain(judged);
    }

    /// Adds candidates; those without a place are counted out. Without any nothing changes.
    pub(super) fn add(
        &mut self,
        candidates: Vec<Candidate>,
        table: &[Frame],
        page_locator: &mut PageLocator,
        (source, finder): (&impl PageSource, &mut DiskFinder),
        judged: &Judged,
        left_out: &mut LeftOut,
    ) {
        self.per_page = page_locator.per_page;
        if self.cut > 0 {
            (self.cut, self.runs) = (0, None);
            self.pieces.clear();
        }
        if candidates.is_empty() {
            return;
        }
        let mut pass = page_locator.begin(table, source, finder);
        // In place: the allocation of the candidates becomes that of the placed pages.
        let mut added: Vec<Whole> = candidates
            .into_iter()
            .filter_map(|candidate| match pass.find(&candidate) {
                Ok(Extent::Whole(whole)) => Some(whole),
                Ok(Extent::Pieces(pieces)) => {
                    judged.forget(candidate.slot);
                    self.pieces.extend(pieces);
                    self.cut += 1;
                    None
                }
                Err(reason) => {
                    judged.forget(candidate.slot);
                    left_out.add(reason);
                    None
                }
            })
            .collect();
        pass.end();
        // Stable, as that sort is quick where extents have left sorted stretches.
        added.sort_by_key(Whole::key);
        self.put(added, table, judged, left_out);
        if self.cut > 0 {
            self.pieces.sort_unstable();
            self.runs = None;
        }
    }

    /// Puts sorted pages among the others; a page is there once.
    fn put(
        &mut self,
        mut added: Vec<Whole>,
        table: &[Frame],
        judged: &Judged,
        left_out: &mut LeftOut,
    ) {
        self.drop_twins(&mut added, judged, left_out);
        if self.whole.is_empty() {
            self.whole = added;
            self.frames.clear();
        } else if !added.is_empty() {
            self.merge(&added, table, judged, left_out);
        }
    }

    /// Takes the pages' frames out of the table, unless they are in order still and no frame has
    /// `moved`; a page without all of them is counted out.
    pub(super) fn gather(
        &mut self,
        table: &[Frame],
        moved: bool,
        judged: &Judged,
        left_out: &mut LeftOut,
    ) {
        if moved || !self.has_frames() {
            self.runs = None;
            let per_page = self.per_page.max(1);
            self.frames.resize(self.whole.len() * per_page, Frame::ABSENT);
            let middle = self.whole.len() / 2;
            let (first, second) = self.whole.split_at(middle);
            let (first_frames, second_frames) = self.frames.split_at_mut(middle * per_page);
            let complete = both(
                || copy_frames(first, table, first_frames, per_page),
                || copy_frames(second, table, second_frames, per_page),
            );
            self.complete = complete == (true, true);
        }
        if !self.complete {
            self.compact(|page, frames| {
                let has_all = !frames.contains(&Frame::ABSENT);
                if !has_all {
                    judged.forget(page.slot);
                    left_out.add(Reason::FrameAbsent);
                }
                has_all
            });
            self.complete = true;
        }
    }

    /// Number of pages.
    pub(super) fn pages(&self) -> u64 {
        self.whole.len() as u64 + self.cut
    }

    /// Calls `each` with the merged runs in the order of the list. They are joined inside each half
    /// only, so that the halves can be counted side by side.
    pub(super) fn each_run<E>(&self, mut each: impl FnMut(Run) -> Result<(), E>) -> Result<(), E> {
        self.halves().iter().try_for_each(|half| half.each_run(&mut each))
    }

    /// Counts the runs, where they are not the same as before.
    pub(super) fn count_runs(&mut self) -> u64 {
        let counts = self.runs.unwrap_or_else(|| {
            let [first, second] = self.halves();
            let count = |half: Half<'_>| {
                let mut count = 0;
                let Ok(()) = half.each_run(&mut |_| {
                    count += 1;
                    Ok::<(), Infallible>(())
                });
                count
            };
            let (first, second) = both(|| count(first), || count(second));
            [first, second]
        });
        self.runs = Some(counts);
        counts[0] + counts[1]
    }

    /// Writes the runs to `out`, which has room for them and no more: both halves at the same time.
    /// They have been counted.
    pub(super) fn write_runs(&self, out: &mut [u8]) -> Result<(), EncodeError> {
        let [first_count, second_count] = self.runs.unwrap_or_default();
        let [first, second] = self.halves();
        let len = usize::try_from(first_count).unwrap_or(usize::MAX).saturating_mul(RUN_BYTES);
        let (front, back) = out
            .split_at_mut_checked(len)
            .ok_or_else(|| EncodeError::Io(io::ErrorKind::WriteZero.into()))?;
        let write = |half: Half<'_>, out: &mut [u8], count: u64| {
            let mut encoder = Encoder::part(out, count);
            half.each_run(&mut |run| encoder.push(run))?;
            encoder.finish()
        };
        let (first, second) =
            both(|| write(first, front, first_count), || write(second, back, second_count));
        first.and(second)
    }

    fn halves(&self) -> [Half<'_>; 2] {
        let per_page = self.per_page;
        let (first, second) = self.whole.split_at(self.whole.len() / 2);
        let (frames, second_frames) = self.frames.split_at(first.len() * per_page.max(1));
        let border = second.first().map_or(self.pieces.len(), |page| {
            self.pieces
                .partition_point(|run| (run.device(), run.unit()) < (page.device(), page.unit()))
        });
        let (pieces, second_pieces) = self.pieces.split_at(border);
        [
            Half { whole: first, frames, pieces, per_page },
            Half { whole: second, frames: second_frames, pieces: second_pieces, per_page },
        ]
    }
}

/// Copies the pages' frames out of the table; false when a page lacks one.
fn copy_frames(pages: &[Whole], table: &[Frame], out: &mut [Frame], per_page: usize) -> bool {
    let mut complete = true;
    for (page, out) in pages.iter().zip(out.chunks_exact_mut(per_page)) {
        match page_frames(table, page.slot, per_page) {
            Some(own) => out.copy_from_slice(own),
            None => {
                out.fill(Frame::ABSENT);
                complete = false;
            }
        }
    }
    complete
}
