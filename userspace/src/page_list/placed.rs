//! Candidates with their place on disk, and the runs that they make.

use page_wire::{Run, merged};

use super::candidates::{Candidate, LeftOut};
use super::judge::Reason;
use super::media::MediaTable;
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
        // In place: the allocation of the candidates becomes that of the placed pages.
        placed.whole = candidates
            .into_iter()
            .filter_map(|candidate| match place(&candidate, frames, per_page, locator, media) {
                Ok(Found::Whole(whole)) => Some(whole),
                Ok(Found::Pieces(pieces)) => {
                    placed.pieces.extend(pieces);
                    placed.cut += 1;
                    None
                }
                Err(reason) => {
                    left_out.add(reason);
                    None
                }
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
        let Self { whole, frames, per_page, .. } = self;
        frames.reserve_exact(whole.len() * *per_page);
        whole.retain(|page| {
            let own = page_frames(table, page.block, *per_page);
            if let Some(own) = own {
                frames.extend_from_slice(own);
            } else {
                left_out.add(Reason::FrameAbsent);
            }
            own.is_some()
        });
    }

    /// Number of pages.
    pub(super) fn pages(&self) -> u64 {
        self.whole.len() as u64 + self.cut
    }

    /// The merged runs in the order of the list.
    pub(super) fn runs(&self) -> impl Iterator<Item = Run> {
        let frames = self.frames.chunks_exact(self.per_page.max(1));
        let whole = self.whole.iter().zip(frames).flat_map(|(page, own)| FrameRuns {
            rest: own,
            medium: page.medium(),
            unit: page.unit(),
        });
        merged(interleave(whole, self.pieces.iter().copied()))
    }
}

/// The frames of a page, if all are there. Pages smaller than a frame have none of their own.
fn page_frames(table: &[Frame], block: u32, per_page: usize) -> Option<&[Frame]> {
    let first = block as usize * per_page;
    let own = table.get(first..first + per_page)?;
    (!own.is_empty() && !own.contains(&Frame::ABSENT)).then_some(own)
}

/// Two ordered sequences as one.
fn interleave(
    a: impl Iterator<Item = Run>,
    b: impl Iterator<Item = Run>,
) -> impl Iterator<Item = Run> {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    std::iter::from_fn(move || match (a.peek(), b.peek()) {
        (Some(x), Some(y)) if y < x => b.next(),
        (Some(_), _) => a.next(),
        (None, _) => b.next(),
    })
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
        let follows = |(i, f): &(u64, &Frame)| f.number() == Some(gfn + i);
        let count = (0..).zip(self.rest).take_while(follows).count();
        let run = Run::new(gfn, u32::try_from(count).ok()?, self.medium, self.unit)?;
        self.rest = &self.rest[count..];
        self.unit += run.bytes() / UNIT;
        Some(run)
    }
}

/// Where a page lies.
enum Found {
    Whole(Whole),
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
            .map(Found::Whole)
            .ok_or(Reason::TooLarge)
    };
    match locator.medium(place).map_err(Reason::NotOnDisk)? {
        locate::Medium::Disk(ranges) => match ranges.as_slice() {
            [range] => whole(media.disk(range.device), range.offset.0),
            ranges => {
                let own = page_frames(table, candidate.block, per_page);
                pieces(ranges, own.ok_or(Reason::FrameAbsent)?, media).map(Found::Pieces)
            }
        },
        locate::Medium::Share => whole(media.file(place.file), place.offset.0),
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
        let runs: Vec<Run> = placed.runs().collect();
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
