//! Where a candidate lies on its device, and for how many pages after it no lookup is needed.

use page_wire::Run;

use super::devices::DeviceTable;
use super::runs::{FrameRuns, UNIT, Whole};
use crate::classify::Reason;
use crate::frames::{FRAME_BYTES, Frame};
use crate::on_disk::{DiskFinder, DiskRange, Location, Unmapped};
use crate::page_list::source::{Candidate, PageSource};

/// A stretch of a file that lies in one piece: the place of its first page gives those of all.
#[derive(Clone, Copy)]
pub(super) struct Straight {
    from: Candidate,
    whole: Whole,
    pages_after: u32,
}

impl Straight {
    /// The place of a page that lies in it; `units` is the length of a page.
    #[inline]
    fn whole(&self, page: &Candidate, units: u64) -> Option<Whole> {
        let ahead = page.key.page.checked_sub(self.from.key.page)?;
        let inside = page.key.object == self.from.key.object && ahead <= self.pages_after;
        let unit = self.whole.unit() + u64::from(ahead) * units;
        inside.then(|| Whole::new(self.whole.device(), unit, page.slot)).flatten()
    }
}

/// Where a page lies.
pub(super) enum Extent {
    /// In one piece.
    Whole(Whole),
    Pieces(Vec<Run>),
}

/// Finds the places of candidates, and keeps what it found them by.
pub(in crate::page_list) struct PageLocator {
    /// In file order.
    straights: Vec<Straight>,
    pub(in crate::page_list) devices: DeviceTable,
    /// Frames of a page.
    pub(super) per_page: usize,
    units: u64,
}

impl PageLocator {
    /// Of pages of so many bytes.
    pub(in crate::page_list) fn new(page_bytes: u32) -> Self {
        let bytes = u64::from(page_bytes);
        let frames = if bytes.is_multiple_of(FRAME_BYTES) { bytes / FRAME_BYTES } else { 0 };
        let per_page = usize::try_from(frames).unwrap_or(0);
        Self {
            straights: Vec::new(),
            devices: DeviceTable::default(),
            per_page,
            units: bytes / UNIT,
        }
    }

    /// Number of stretches.
    pub(in crate::page_list) fn straights(&self) -> usize {
        self.straights.len()
    }

    /// Whether everything still lies where it was found: one lookup a stretch, not one a page.
    pub(in crate::page_list) fn holds(
        &mut self,
        source: &impl PageSource,
        finder: &mut DiskFinder,
    ) -> bool {
        let Self { straights, devices, per_page, .. } = self;
        straights.iter().all(|straight| {
            let now = place(&straight.from, &[], *per_page, (source, finder), devices);
            matches!(now, Ok((Extent::Whole(whole), after))
                if whole == straight.whole && after >= straight.pages_after)
        })
    }

    /// Begins to find places, for candidates in file order.
    pub(super) fn begin<'p, S: PageSource>(
        &'p mut self,
        table: &'p [Frame],
        source: &'p S,
        finder: &'p mut DiskFinder,
    ) -> Pass<'p, S> {
        let known = self.straights.len();
        Pass { page_locator: self, table, source, finder, known, at: 0, last: None }
    }
}

/// One pass over candidates in file order.
pub(super) struct Pass<'p, S> {
    page_locator: &'p mut PageLocator,
    table: &'p [Frame],
    source: &'p S,
    finder: &'p mut DiskFinder,
    /// So many stretches were known when it began; new ones come behind them.
    known: usize,
    /// So many of them begin before the last candidate.
    at: usize,
    last: Option<Straight>,
}

impl<S: PageSource> Pass<'_, S> {
    /// The place of the next candidate.
    #[inline]
    pub(super) fn find(&mut self, candidate: &Candidate) -> Result<Extent, Reason> {
        match self.last.and_then(|straight| straight.whole(candidate, self.page_locator.units)) {
            Some(whole) => Ok(Extent::Whole(whole)),
            None => self.look(candidate),
        }
    }

    fn look(&mut self, candidate: &Candidate) -> Result<Extent, Reason> {
        let PageLocator { straights, devices, per_page, units } = &mut *self.page_locator;
        let ahead = &straights[self.at..self.known];
        self.at += ahead.partition_point(|straight| straight.from.order() <= candidate.order());
        self.last = self.at.checked_sub(1).map(|before| straights[before]);
        if let Some(whole) = self.last.and_then(|straight| straight.whole(candidate, *units)) {
            return Ok(Extent::Whole(whole));
        }
        self.last = None;
        let (found, pages_after) =
            place(candidate, self.table, *per_page, (self.source, self.finder), devices)?;
        if let Extent::Whole(whole) = found {
            let new = Straight { from: *candidate, whole, pages_after };
            straights.push(new);
            self.last = Some(new);
        }
        Ok(found)
    }

    /// Keeps what was found by the way.
    pub(super) fn end(self) {
        self.page_locator.straights.sort_by_key(|straight| straight.from.order());
    }
}

/// The place of a page, and how many pages after it follow it there.
fn place(
    candidate: &Candidate,
    table: &[Frame],
    per_page: usize,
    (source, finder): (&impl PageSource, &mut DiskFinder),
    devices: &mut DeviceTable,
) -> Result<(Extent, u32), Reason> {
    if per_page == 0 {
        return Err(Reason::FrameAbsent);
    }
    let (range, in_file) = source.range(candidate.key)?;
    let whole = |number: Option<u16>, offset: u64| {
        let aligned = offset.is_multiple_of(UNIT);
        number
            .filter(|_| aligned)
            .and_then(|number| Whole::new(number, offset / UNIT, candidate.slot))
            .map(Extent::Whole)
            .ok_or(Reason::TooLarge)
    };
    match finder.find(source.files(), range).map_err(|reason| source.unmapped(reason))? {
        Location::Disk(ranges) => match ranges.as_slice() {
            [on_disk] => {
                let after = in_file.min(finder.as_long_after(&range));
                Ok((whole(devices.disk(on_disk.device), on_disk.offset.0)?, after))
            }
            ranges => {
                let own = page_frames(table, candidate.slot, per_page);
                let own = own.ok_or(Reason::FrameAbsent)?;
                let runs = pieces(ranges, own, devices, |reason| source.unmapped(reason))?;
                Ok((Extent::Pieces(runs), 0))
            }
        },
        Location::Share => Ok((whole(devices.file(range.file), range.offset.0)?, in_file)),
    }
}

/// Runs of a page in several pieces. One that is cut inside a frame cannot be named by runs.
fn pieces(
    ranges: &[DiskRange],
    frames: &[Frame],
    devices: &mut DeviceTable,
    unmapped: impl Fn(Unmapped) -> Reason,
) -> Result<Vec<Run>, Reason> {
    let (mut rest, mut runs) = (frames, Vec::new());
    for range in ranges {
        let count = usize::try_from(range.len_bytes / FRAME_BYTES).unwrap_or(usize::MAX);
        if range.len_bytes % FRAME_BYTES != 0 || count > rest.len() || range.offset.0 % UNIT != 0 {
            return Err(unmapped(Unmapped::ExtentInline));
        }
        let device = devices.disk(range.device).ok_or(Reason::TooLarge)?;
        let unit = range.offset.0 / UNIT;
        Whole::new(device, unit, 0).ok_or(Reason::TooLarge)?;
        let (here, later) = rest.split_at(count);
        runs.extend(FrameRuns { rest: here, device, unit });
        rest = later;
    }
    if rest.is_empty() { Ok(runs) } else { Err(unmapped(Unmapped::BeyondEof)) }
}

/// The frames of a page, if all are there. Pages smaller than a frame have none of their own.
pub(super) fn page_frames(table: &[Frame], slot: u32, per_page: usize) -> Option<&[Frame]> {
    let first = slot as usize * per_page;
    let own = table.get(first..first + per_page)?;
    (!own.is_empty() && !own.contains(&Frame::ABSENT)).then_some(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page_list::source::PageKey;

    #[test]
    fn places_that_do_not_fit_are_refused() {
        assert!(Whole::new(0, 1 << 48, 0).is_none());
        let last = Whole::new(u16::MAX, (1 << 48) - 1, 5).unwrap();
        assert_eq!((last.device(), last.unit(), last.slot), (u16::MAX, (1 << 48) - 1, 5));
    }

    #[test]
    fn a_straight_says_where_its_pages_lie_and_no_others() {
        let page = |object, page, slot| Candidate { key: PageKey { object, page }, slot };
        let whole = Whole::new(3, 100, 7).unwrap();
        let straight = Straight { from: page(5, 10, 7), whole, pages_after: 2 };
        let at = |candidate: Candidate| straight.whole(&candidate, 32).map(|whole| whole.unit());
        assert_eq!(at(page(5, 10, 7)), Some(100));
        assert_eq!(at(page(5, 12, 9)), Some(164));
        assert_eq!(at(page(5, 13, 9)), None, "beyond the stretch");
        assert_eq!(at(page(5, 9, 9)), None);
        assert_eq!(at(page(6, 11, 9)), None);
    }
}
