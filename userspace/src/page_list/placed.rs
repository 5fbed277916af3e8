//! Candidates with their place on disk, and the runs that they make.

use std::convert::Infallible;

use page_wire::{Merger, Run};

use super::candidates::{Candidate, LeftOut};
use super::judge::Reason;
use super::media::MediaTable;
use super::threads::both;
use crate::frames::{FRAME_BYTES, Frame};
use crate::geometry::Geometry;
use crate::locate::{self, Locator, NotOnDisk, PageNo, SpaceId};

/// Bytes of a unit of places on a medium.
const UNIT: u64 = 1 << page_wire::UNIT_SHIFT;

/// A page whose bytes follow each other on one medium: 12 bytes, the place as [`Run`] packs it.
#[derive(Clone, Copy)]
struct Whole {
    place: [u32; 2],
    block: u32,
}

impl Whole {
    fn new(medium: u16, unit: u64, block: u32) -> Option<Self> {
        if unit >> 48 != 0 {
            return None;
        }
        let place = u64::from(medium) << 48 | unit;
        let low = u32::try_from(place & 0xffff_ffff).ok()?;
        Some(Self { place: [u32::try_from(place >> 32).ok()?, low], block })
    }

    const fn key(&self) -> u64 {
        (self.place[0] as u64) << 32 | self.place[1] as u64
    }

    fn medium(&self) -> u16 {
        u16::try_from(self.key() >> 48).unwrap_or(u16::MAX)
    }

    const fn unit(&self) -> u64 {
        self.key() & ((1 << 48) - 1)
    }
}

/// All pages of a list.
pub(super) struct Placed {
    /// In the order of the list.
    whole: Vec<Whole>,
    /// Their frames, `per_page` each, in the same order: the table by block is far larger than any
    /// cache, so it is looked into once a page and not at every pass.
    frames: Vec<Frame>,
    /// Runs of pages that lie in several pieces; few, and in the order of the list.
    pieces: Vec<Run>,
    cut: u64,
    per_page: usize,
}

impl Placed {
    /// Finds the place of each candidate; those without one are counted out.
    pub(super) fn of(
        geometry: &Geometry,
        candidates: Vec<Candidate>,
        frames: &[Frame],
        locator: &mut Locator,
        media: &mut MediaTable,
        left_out: &mut LeftOut<'_>,
    ) -> Self {
        let per_page = usize::try_from(u64::from(geometry.page_size) / FRAME_BYTES).unwrap_or(0);
        let mut placed =
            Self { whole: Vec::new(), frames: Vec::new(), pieces: Vec::new(), cut: 0, per_page };
        let mut find =
            |candidate: Candidate| match place(&candidate, frames, per_page, locator, media) {
                Ok(Found::Whole(whole, pages_after)) => {
                    (Some(whole), Some(Straight { whole, from: candidate, pages_after }))
                }
                Ok(Found::Pieces(pieces)) => {
                    placed.pieces.extend(pieces);
                    placed.cut += 1;
                    (None, None)
                }
                Err(reason) => {
                    left_out.add(reason);
                    (None, None)
                }
            };
        let units = u64::from(geometry.page_size) / UNIT;
        let mut straight: Option<Straight> = None;
        // In place: the allocation of the candidates becomes that of the placed pages.
        placed.whole = candidates
            .into_iter()
            .filter_map(|candidate| {
                if let Some(whole) = straight.and_then(|s| s.whole(&candidate, units)) {
                    return Some(whole);
                }
                let (whole, next) = find(candidate);
                straight = next;
                whole
            })
            .collect();
        // Stable, as that sort is quick where extents have left sorted stretches.
        placed.whole.sort_by_key(Whole::key);
        placed.pieces.sort_unstable();
        placed.gather(frames, left_out);
        placed
    }

    /// Takes the pages' frames out of the table; a page without all of them is counted out.
    fn gather(&mut self, table: &[Frame], left_out: &mut LeftOut<'_>) {
        let per_page = self.per_page.max(1);
        self.frames = vec![Frame::ABSENT; self.whole.len() * per_page];
        let middle = self.whole.len() / 2;
        let (first, second) = self.whole.split_at(middle);
        let (first_frames, second_frames) = self.frames.split_at_mut(middle * per_page);
        let complete = both(
            || copy_frames(first, table, first_frames, per_page),
            || copy_frames(second, table, second_frames, per_page),
        );
        if complete != (true, true) {
            self.remove_absent(left_out);
        }
    }

    /// Counts out the pages that lack a frame.
    fn remove_absent(&mut self, left_out: &mut LeftOut<'_>) {
        let Self { whole, frames, per_page, .. } = self;
        let per_page = (*per_page).max(1);
        let mut kept = 0;
        for page in 0..whole.len() {
            let own = page * per_page..(page + 1) * per_page;
            if frames[own.clone()].contains(&Frame::ABSENT) {
                left_out.add(Reason::FrameAbsent);
            } else {
                whole[kept] = whole[page];
                frames.copy_within(own, kept * per_page);
                kept += 1;
            }
        }
        whole.truncate(kept);
        frames.truncate(kept * per_page);
    }

    /// Number of pages.
    pub(super) fn pages(&self) -> u64 {
        self.whole.len() as u64 + self.cut
    }

    /// Calls `each` with the merged runs in the order of the list. They are joined inside each half
    /// only, so that the halves can be counted side by side.
    pub(super) fn each_run<E>(&self, mut each: impl FnMut(Run) -> Result<(), E>) -> Result<(), E> {
        self.halves().iter().try_for_each(|half| half.each_run(self.per_page, &mut each))
    }

    /// Number of runs.
    pub(super) fn count_runs(&self) -> u64 {
        let [first, second] = self.halves();
        let count = |half: Half<'_>| {
            let mut count = 0;
            let Ok(()) = half.each_run(self.per_page, &mut |_| {
                count += 1;
                Ok::<(), Infallible>(())
            });
            count
        };
        let (first, second): (u64, u64) = both(|| count(first), || count(second));
        first + second
    }

    fn halves(&self) -> [Half<'_>; 2] {
        let (first, second) = self.whole.split_at(self.whole.len() / 2);
        let (frames, second_frames) = self.frames.split_at(first.len() * self.per_page.max(1));
        let border = second.first().map_or(self.pieces.len(), |page| {
            self.pieces
                .partition_point(|run| (run.medium(), run.unit()) < (page.medium(), page.unit()))
        });
        let (pieces, second_pieces) = self.pieces.split_at(border);
        [
            Half { whole: first, frames, pieces },
            Half { whole: second, frames: second_frames, pieces: second_pieces },
        ]
    }
}

/// The first or the last half of a list.
struct Half<'a> {
    whole: &'a [Whole],
    frames: &'a [Frame],
    pieces: &'a [Run],
}

impl Half<'_> {
    /// One plain loop, as it goes over every page of the pool twice.
    fn each_run<E>(
        &self,
        per_page: usize,
        each: &mut impl FnMut(Run) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut merger = Merger::default();
        let mut push = |run| merger.push(run).map_or(Ok(()), &mut *each);
        let mut pieces = self.pieces.iter().copied().peekable();
        for (page, own) in self.whole.iter().zip(self.frames.chunks_exact(per_page.max(1))) {
            let place = (page.medium(), page.unit());
            while let Some(piece) = pieces.next_if(|piece| (piece.medium(), piece.unit()) < place) {
                push(piece)?;
            }
            for run in (FrameRuns { rest: own, medium: page.medium(), unit: page.unit() }) {
                push(run)?;
            }
        }
        for piece in pieces {
            push(piece)?;
        }
        merger.finish().map_or(Ok(()), each)
    }
}

/// Copies the pages' frames out of the table; false when a page lacks one.
fn copy_frames(pages: &[Whole], table: &[Frame], out: &mut [Frame], per_page: usize) -> bool {
    let mut complete = true;
    for (page, out) in pages.iter().zip(out.chunks_exact_mut(per_page)) {
        match page_frames(table, page.block, per_page) {
            Some(own) => out.copy_from_slice(own),
            None => complete = false,
        }
    }
    complete
}

/// The frames of a page, if all are there. Pages smaller than a frame have none of their own.
fn page_frames(table: &[Frame], block: u32, per_page: usize) -> Option<&[Frame]> {
    let first = block as usize * per_page;
    let own = table.get(first..first + per_page)?;
    (!own.is_empty() && !own.contains(&Frame::ABSENT)).then_some(own)
}

/// Runs of frames whose bytes follow each other on a medium: one a change of frame.
struct FrameRuns<'a> {
    rest: &'a [Frame],
    medium: u16,
    unit: u64,
}

impl Iterator for FrameRuns<'_> {
    type Item = Run;

    #[inline]
    fn next(&mut self) -> Option<Run> {
        // Absent frames and places that do not fit were counted out before.
        let gfn = self.rest.first()?.number()?;
        let mut count = 1;
        while self.rest.get(count).is_some_and(|f| f.number() == Some(gfn + count as u64)) {
            count += 1;
        }
        let run = Run::new(gfn, u32::try_from(count).ok()?, self.medium, self.unit)?;
        self.rest = &self.rest[count..];
        self.unit += run.bytes() / UNIT;
        Some(run)
    }
}

/// Pages whose places follow from that of the first.
#[derive(Clone, Copy)]
struct Straight {
    from: Candidate,
    whole: Whole,
    pages_after: u32,
}

impl Straight {
    /// The place of a page that lies in it; `units` is the length of a page.
    #[inline]
    fn whole(&self, page: &Candidate, units: u64) -> Option<Whole> {
        let ahead = page.page.checked_sub(self.from.page)?;
        let inside = page.space == self.from.space && ahead <= self.pages_after;
        let unit = self.whole.unit() + u64::from(ahead) * units;
        inside.then(|| Whole::new(self.whole.medium(), unit, page.block)).flatten()
    }
}

/// Where a page lies.
enum Found {
    /// In one piece, and so do this many pages after it.
    Whole(Whole, u32),
    Pieces(Vec<Run>),
}

fn place<'a>(
    candidate: &Candidate,
    table: &[Frame],
    per_page: usize,
    locator: &mut Locator,
    media: &mut MediaTable,
) -> Result<Found, Reason<'a>> {
    if per_page == 0 {
        return Err(Reason::FrameAbsent);
    }
    let (space, page) = (SpaceId(candidate.space), PageNo(candidate.page));
    let place = locator.place(space, page).map_err(Reason::NotOnDisk)?;
    if u64::from(place.len_bytes) != per_page as u64 * FRAME_BYTES {
        return Err(Reason::NotOnDisk(NotOnDisk::Compressed));
    }
    let whole = |number: Option<u16>, offset: u64| {
        let aligned = offset.is_multiple_of(UNIT);
        number
            .filter(|_| aligned)
            .and_then(|number| Whole::new(number, offset / UNIT, candidate.block))
            .ok_or(Reason::TooLarge)
    };
    match locator.medium(place).map_err(Reason::NotOnDisk)? {
        locate::Medium::Disk(ranges) => match ranges.as_slice() {
            [range] => {
                let after = locator.pages_on_disk_after(space, page, &place);
                Ok(Found::Whole(whole(media.disk(range.device), range.offset.0)?, after))
            }
            ranges => {
                let own = page_frames(table, candidate.block, per_page);
                pieces(ranges, own.ok_or(Reason::FrameAbsent)?, media).map(Found::Pieces)
            }
        },
        locate::Medium::Share => {
            let after = locator.tablespaces().pages_after(space, page);
            Ok(Found::Whole(whole(media.file(place.file), place.offset.0)?, after))
        }
    }
}

/// Runs of a page in several pieces. One that is cut inside a frame cannot be named by runs.
fn pieces<'a>(
    ranges: &[locate::DiskRange],
    frames: &[Frame],
    media: &mut MediaTable,
) -> Result<Vec<Run>, Reason<'a>> {
    let (mut rest, mut runs) = (frames, Vec::new());
    for range in ranges {
        let count = usize::try_from(range.len_bytes / FRAME_BYTES).unwrap_or(usize::MAX);
        if range.len_bytes % FRAME_BYTES != 0 || count > rest.len() || range.offset.0 % UNIT != 0 {
            return Err(Reason::NotOnDisk(NotOnDisk::ExtentInline));
        }
        let medium = media.disk(range.device).ok_or(Reason::TooLarge)?;
        let unit = range.offset.0 / UNIT;
        Whole::new(medium, unit, 0).ok_or(Reason::TooLarge)?;
        let (here, later) = rest.split_at(count);
        runs.extend(FrameRuns { rest: here, medium, unit });
        rest = later;
    }
    if rest.is_empty() { Ok(runs) } else { Err(Reason::NotOnDisk(NotOnDisk::BeyondEof)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(gfn: u64, frames: u32, unit: u64) -> Run {
        Run::new(gfn, frames, 0, unit).unwrap()
    }

    #[test]
    fn scattered_and_contiguous_frames_make_the_runs_they_are() {
        let table = [7, 8, 20, 21, 22, 23, 24, 25, 30, 0, 32, 33].map(Frame::from_number);
        let whole = |unit, block| Whole::new(0, unit, block).unwrap();
        let mut placed = Placed {
            whole: vec![whole(0, 0), whole(32, 1), whole(64, 2), whole(96, 3)],
            frames: Vec::new(),
            pieces: vec![run(100, 1, 16)],
            cut: 1,
            per_page: 4,
        };
        // Block 2 lacks a frame, block 3 is not in the table.
        let mut left_out = LeftOut::default();
        placed.gather(&table, &mut left_out);
        assert_eq!(left_out.names()["frame-absent"], 2);
        let mut runs = Vec::new();
        let Ok(()) = placed.each_run(|run| {
            runs.push(run);
            Ok::<(), Infallible>(())
        });
        assert_eq!(placed.count_runs(), runs.len() as u64);
        // 7-8 at unit 0, 20-21 at 16 (where the piece also claims to be), 22-25 at 32.
        assert!(runs.contains(&run(7, 2, 0)));
        assert!(runs.contains(&run(100, 1, 16)));
        assert_eq!(runs.iter().map(Run::frames).sum::<u32>(), 9);
        assert_eq!(placed.pages(), 3);
    }

    #[test]
    fn places_that_do_not_fit_are_refused() {
        assert!(Whole::new(0, 1 << 48, 0).is_none());
        let last = Whole::new(u16::MAX, (1 << 48) - 1, 5).unwrap();
        assert_eq!((last.medium(), last.unit(), last.block), (u16::MAX, (1 << 48) - 1, 5));
    }
}
