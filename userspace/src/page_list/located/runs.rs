//! Pages that lie in one piece on a device, and the runs that they make with their frames.

use page_wire::{Merger, Run};

use crate::frames::Frame;

/// Bytes of a unit of places on a device.
pub(super) const UNIT: u64 = page_number::UNIT_BYTES;

/// A page whose bytes follow each other on one device: 12 bytes, the place as [`Run`](page_wire::Run) packs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    place: [u32; 2],
    pub(super) slot: u32,
}

impl Whole {
    pub(super) fn new(device: u16, unit: u64, slot: u32) -> Option<Self> {
        if unit >> 48 != 0 {
            return None;
        }
        let place = u64::from(device) << 48 | unit;
        let low = u32::try_from(place & 0xffff_ffff).ok()?;
        Some(Self { place: [u32::try_from(place >> 32).ok()?, low], slot })
    }

    pub(super) const fn key(&self) -> u64 {
        (self.place[0] as u64) << 32 | self.place[1] as u64
    }

    pub(super) fn device(&self) -> u16 {
        u16::try_from(self.key() >> 48).unwrap_or(u16::MAX)
    }

    pub(super) const fn unit(&self) -> u64 {
        self.key() & ((1 << 48) - 1)
    }
}

/// Runs of frames whose bytes follow each other on a device: one a change of frame.
pub(super) struct FrameRuns<'a> {
    pub(super) rest: &'a [Frame],
    pub(super) device: u16,
    pub(super) unit: u64,
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
        let run = Run::new(gfn, u32::try_from(count).ok()?, self.device, self.unit)?;
        self.rest = &self.rest[count..];
        self.unit += run.bytes() / UNIT;
        Some(run)
    }
}

/// The first or the last half of a list.
pub(super) struct Half<'a> {
    pub(super) whole: &'a [Whole],
    pub(super) frames: &'a [Frame],
    pub(super) pieces: &'a [Run],
    pub(super) per_page: usize,
}

impl Half<'_> {
    /// One plain loop, as it goes over every page of the pool twice.
    pub(super) fn each_run<E>(&self, each: &mut impl FnMut(Run) -> Result<(), E>) -> Result<(), E> {
        let mut merger = Merger::default();
        let mut push = |run| merger.push(run).map_or(Ok(()), &mut *each);
        let mut pieces = self.pieces.iter().copied().peekable();
        for (page, own) in self.whole.iter().zip(self.frames.chunks_exact(self.per_page.max(1))) {
            let place = (page.device(), page.unit());
            while let Some(piece) = pieces.next_if(|piece| (piece.device(), piece.unit()) < place) {
                push(piece)?;
            }
            for run in (FrameRuns { rest: own, device: page.device(), unit: page.unit() }) {
                push(run)?;
            }
        }
        for piece in pieces {
            push(piece)?;
        }
        merger.finish().map_or(Ok(()), each)
    }
}
