//! Where a candidate lies on its device, and for how many pages after it no lookup is needed.

use page_wire::Run;

use super::candidates::Candidate;
use super::devices::DeviceTable;
use super::runs::FrameRuns;
use super::whole::{UNIT, Whole};
use crate::classify::Reason;
use crate::frames::{FRAME_BYTES, Frame};
use crate::locate::{self, Locator, NotOnDisk, PageNo, SpaceId};

/// A stretch of a file that lies in one piece: where its first page lies says where all of them do.
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
        let ahead = page.page.checked_sub(self.from.page)?;
        let inside = page.space == self.from.space && ahead <= self.pages_after;
        let unit = self.whole.unit() + u64::from(ahead) * units;
        inside.then(|| Whole::new(self.whole.device(), unit, page.block)).flatten()
    }
}

/// Where a page lies.
pub(super) enum Found {
    /// In one piece.
    Whole(Whole),
    Pieces(Vec<Run>),
}

/// Finds the places of candidates, and keeps what it found them by.
pub(super) struct Placer {
    /// In file order.
    straights: Vec<Straight>,
    pub(super) devices: DeviceTable,
    /// Frames of a page.
    pub(super) per_page: usize,
    units: u64,
}

impl Placer {
    /// Of pages of so many bytes.
    pub(super) fn new(page_size: u32) -> Self {
        let bytes = u64::from(page_size);
        let per_page = usize::try_from(bytes / FRAME_BYTES).unwrap_or(0);
        Self {
            straights: Vec::new(),
            devices: DeviceTable::default(),
            per_page,
            units: bytes / UNIT,
        }
    }

    /// Number of stretches.
    pub(super) fn straights(&self) -> usize {
        self.straights.len()
    }

    /// Whether everything still lies where it was found: one lookup a stretch, not one a page.
    pub(super) fn holds(&mut self, locator: &mut Locator) -> bool {
        let Self { straights, devices, per_page, .. } = self;
        straights.iter().all(|straight| {
            let now = place(&straight.from, &[], *per_page, locator, devices);
            matches!(now, Ok((Found::Whole(whole), after))
                if whole == straight.whole && after >= straight.pages_after)
        })
    }

    /// Begins to find places, for candidates in file order.
    pub(super) fn begin<'p>(
        &'p mut self,
        table: &'p [Frame],
        locator: &'p mut Locator,
    ) -> Pass<'p> {
        let known = self.straights.len();
        Pass { placer: self, table, locator, known, at: 0, last: None }
    }
}

/// One pass over candidates in file order.
pub(super) struct Pass<'p> {
    placer: &'p mut Placer,
    table: &'p [Frame],
    locator: &'p mut Locator,
    /// So many stretches were known when it began; new ones come behind them.
    known: usize,
    /// So many of them begin before the last candidate.
    at: usize,
    last: Option<Straight>,
}

impl Pass<'_> {
    /// The place of the next candidate.
    #[inline]
    pub(super) fn find(&mut self, candidate: &Candidate) -> Result<Found, Reason> {
        match self.last.and_then(|straight| straight.whole(candidate, self.placer.units)) {
            Some(whole) => Ok(Found::Whole(whole)),
            None => self.look(candidate),
        }
    }

    fn look(&mut self, candidate: &Candidate) -> Result<Found, Reason> {
        let Placer { straights, devices, per_page, units } = &mut *self.placer;
        let ahead = &straights[self.at..self.known];
        self.at += ahead.partition_point(|straight| straight.from.key() <= candidate.key());
        self.last = self.at.checked_sub(1).map(|before| straights[before]);
        if let Some(whole) = self.last.and_then(|straight| straight.whole(candidate, *units)) {
            return Ok(Found::Whole(whole));
        }
        self.last = None;
        let (found, pages_after) = place(candidate, self.table, *per_page, self.locator, devices)?;
        if let Found::Whole(whole) = found {
            let new = Straight { from: *candidate, whole, pages_after };
            straights.push(new);
            self.last = Some(new);
        }
        Ok(found)
    }

    /// Keeps what was found by the way.
    pub(super) fn end(self) {
        self.placer.straights.sort_by_key(|straight| straight.from.key());
    }
}

/// The place of a page, and how many pages after it follow it there.
fn place(
    candidate: &Candidate,
    table: &[Frame],
    per_page: usize,
    locator: &mut Locator,
    devices: &mut DeviceTable,
) -> Result<(Found, u32), Reason> {
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
    match locator.location(place).map_err(Reason::NotOnDisk)? {
        locate::Location::Disk(ranges) => match ranges.as_slice() {
            [range] => {
                let after = locator.pages_on_disk_after(space, page, &place);
                Ok((whole(devices.disk(range.device), range.offset.0)?, after))
            }
            ranges => {
                let own = page_frames(table, candidate.block, per_page);
                let runs = pieces(ranges, own.ok_or(Reason::FrameAbsent)?, devices)?;
                Ok((Found::Pieces(runs), 0))
            }
        },
        locate::Location::Share => {
            let after = locator.tablespaces().pages_after(space, page);
            Ok((whole(devices.file(place.file), place.offset.0)?, after))
        }
    }
}

/// Runs of a page in several pieces. One that is cut inside a frame cannot be named by runs.
fn pieces(
    ranges: &[locate::DiskRange],
    frames: &[Frame],
    devices: &mut DeviceTable,
) -> Result<Vec<Run>, Reason> {
    let (mut rest, mut runs) = (frames, Vec::new());
    for range in ranges {
        let count = usize::try_from(range.len_bytes / FRAME_BYTES).unwrap_or(usize::MAX);
        if range.len_bytes % FRAME_BYTES != 0 || count > rest.len() || range.offset.0 % UNIT != 0 {
            return Err(Reason::NotOnDisk(NotOnDisk::ExtentInline));
        }
        let device = devices.disk(range.device).ok_or(Reason::TooLarge)?;
        let unit = range.offset.0 / UNIT;
        Whole::new(device, unit, 0).ok_or(Reason::TooLarge)?;
        let (here, later) = rest.split_at(count);
        runs.extend(FrameRuns { rest: here, device, unit });
        rest = later;
    }
    if rest.is_empty() { Ok(runs) } else { Err(Reason::NotOnDisk(NotOnDisk::BeyondEof)) }
}

/// The frames of a page, if all are there. Pages smaller than a frame have none of their own.
pub(super) fn page_frames(table: &[Frame], block: u32, per_page: usize) -> Option<&[Frame]> {
    let first = block as usize * per_page;
    let own = table.get(first..first + per_page)?;
    (!own.is_empty() && !own.contains(&Frame::ABSENT)).then_some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_do_not_fit_are_refused() {
        assert!(Whole::new(0, 1 << 48, 0).is_none());
        let last = Whole::new(u16::MAX, (1 << 48) - 1, 5).unwrap();
        assert_eq!((last.device(), last.unit(), last.block), (u16::MAX, (1 << 48) - 1, 5));
    }

    #[test]
    fn a_straight_says_where_its_pages_lie_and_no_others() {
        let page = |space, page, block| Candidate { space, page, block };
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
