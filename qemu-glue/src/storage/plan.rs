//! Which requests to make: pages that lie close together on a storage become one large read.
//!
//! Pure: pages in the order of the storage go in, requests come out.

use std::ops::Range;

/// Offsets and lengths of reads are multiples of this: the largest logical block that disks have.
pub const ALIGN: u64 = 4096;
use page_number::{PAGE_BYTES, PageIndex};

use crate::set::SetRun;

/// How large a request grows.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Most bytes of a request, its alignment included.
    pub request_bytes: u64,
    /// Bytes between two pages that are rather read for nothing than skipped by another request.
    pub gap_bytes: u64,
}

/// Pages that follow each other in RAM and in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Number of the first page.
    pub first: PageIndex,
    /// Index of the RAM block.
    pub block: u16,
    /// Offset of the first page in the block, in bytes.
    pub offset: u64,
    /// Number of pages.
    pub pages: u32,
    /// Where the first page's bytes stand in the request, in bytes.
    pub at: u64,
}

impl Piece {
    /// Numbers of its pages.
    #[must_use]
    pub const fn numbers(&self) -> Range<u32> {
        self.first.0..self.first.0 + self.pages
    }
}

/// One read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Index of the device.
    pub device: u16,
    /// Where it begins; a multiple of [`ALIGN`].
    pub place: u64,
    /// Where its last page ends.
    end: u64,
    /// Its pages, in the order of the storage.
    pub pieces: Vec<Piece>,
}

impl Request {
    /// A request that begins with the pages of `run`, as many as fit.
    #[must_use]
    pub fn begun(first: PageIndex, run: &SetRun, limits: &RequestLimits) -> (Self, u32) {
        let place = run.place - run.place % ALIGN;
        let mut request = Self { device: run.device, place, end: run.place, pieces: Vec::new() };
        let pages = request.add(first, run, limits);
        (request, pages)
    }

    /// Adds pages of `run` from its start, as many as fit; returns how many that are; 0 when the run
    /// does not follow closely.
    pub fn add(&mut self, first: PageIndex, run: &SetRun, limits: &RequestLimits) -> u32 {
        let follows = run.device == self.device
            && run.place >= self.end
            && run.place - self.end <= limits.gap_bytes;
        if !follows {
            return 0;
        }
        // The end is aligned up when it is read, so the room ends at an aligned place.
        let room_end =
            self.place.saturating_add(limits.request_bytes - limits.request_bytes % ALIGN);
        let room = room_end.saturating_sub(run.place) / PAGE_BYTES;
        let pages = run.pages.min(u32::try_from(room).unwrap_or(u32::MAX));
        if pages > 0 {
            let at = run.place - self.place;
            self.pieces.push(Piece { first, block: run.block, offset: run.offset, pages, at });
            self.end = run.place + u64::from(pages) * PAGE_BYTES;
        }
        pages
    }

    /// Length in bytes, a multiple of [`ALIGN`].
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        (self.end - self.place).next_multiple_of(ALIGN)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const LIMITS: RequestLimits = RequestLimits { request_bytes: 1 << 20, gap_bytes: 64 << 10 };

    fn run(place: u64, pages: u32) -> SetRun {
        SetRun { block: 0, device: 0, pages, offset: 0, place }
    }

    #[test]
    fn close_pages_are_one_request() {
        let (mut request, pages) = Request::begun(PageIndex(0), &run(8192, 2), &LIMITS);
        assert_eq!(pages, 2);
        assert_eq!(request.add(PageIndex(2), &run(20_480, 1), &LIMITS), 1, "a gap of one page");
        assert_eq!((request.place, request.bytes()), (8192, 16_384));
        assert_eq!(request.pieces[1].at, 12_288);
        assert_eq!(request.add(PageIndex(3), &run(1 << 18, 1), &LIMITS), 0, "a gap too far");
        assert_eq!(request.add(PageIndex(3), &run(0, 1), &LIMITS), 0, "backwards");
        let other = SetRun { device: 1, ..run(24_576, 1) };
        assert_eq!(request.add(PageIndex(3), &other, &LIMITS), 0, "another device");
    }

    #[test]
    fn a_place_between_blocks_is_aligned() {
        let (request, _) = Request::begun(PageIndex(0), &run(4096 + 512, 1), &LIMITS);
        assert_eq!((request.place, request.bytes(), request.pieces[0].at), (4096, 8192, 512));
    }

    #[test]
    fn a_long_run_is_cut_at_the_limit() {
        for (place, taken) in [(0, 256), (512, 255)] {
            let (request, pages) = Request::begun(PageIndex(0), &run(place, 1000), &LIMITS);
            assert_eq!(pages, taken);
            assert!(request.bytes() <= LIMITS.request_bytes);
        }
    }

    proptest! {
        #[test]
        fn requests_hold_every_page_once_and_fit(
            runs in vec((0..300_u64, 1..600_u32), 1..30),
            sectors in 0..8_u64,
        ) {
            let mut place = sectors * 512;
            let (mut next, mut seen, mut open) = (0, 0, None::<Request>);
            let mut check = |request: Request| {
                prop_assert!(request.bytes() <= LIMITS.request_bytes);
                prop_assert!(request.place.is_multiple_of(ALIGN));
                for piece in &request.pieces {
                    prop_assert_eq!(piece.first.0, seen);
                    // In these runs RAM and storage differ by nothing but the start.
                    prop_assert_eq!(piece.offset, request.place + piece.at - sectors * 512);
                    prop_assert!(piece.at + u64::from(piece.pages) * PAGE_BYTES <= request.bytes());
                    seen += piece.pages;
                }
                Ok(())
            };
            for (gap, mut pages) in runs {
                place += gap * 512 * 8;
                while pages > 0 {
                    let offset = place - sectors * 512;
                    let run = SetRun { offset, ..run(place, pages) };
                    let taken = match &mut open {
                        Some(request) => request.add(PageIndex(next), &run, &LIMITS),
                        None => {
                            let (request, taken) = Request::begun(PageIndex(next), &run, &LIMITS);
                            open = Some(request);
                            prop_assert!(taken > 0, "a request that never begins");
                            taken
                        }
                    };
                    if taken == 0 {
                        check(open.take().unwrap())?;
                    }
                    next += taken;
                    pages -= taken;
                    place += u64::from(taken) * PAGE_BYTES;
                }
            }
            check(open.unwrap())?;
            prop_assert_eq!(seen, next);
        }
    }
}
