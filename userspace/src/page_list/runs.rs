//! From pages in order, and their frames, to merged runs.

use page_wire::{Merger, Run};

use super::whole::{UNIT, Whole};
use crate::frames::Frame;

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
