//! The frames of a source's memory by slot. They move, so all of them are translated for each list; the table
//! is kept to see whether any has moved since the last.

use crate::frames::{FRAME_BYTES, Frame, Frames, FramesError};
use crate::memory::ServerAddr;
use crate::page_list::source::{PageSource, SlotRange};

/// Frames that are translated at a time, and compared while they are in the cache.
const PIECE_FRAMES: usize = 1 << 15;

/// Frames by slot, as many as a page has.
#[derive(Default)]
pub(in crate::page_list) struct FrameTable {
    frames: Vec<Frame>,
}

impl FrameTable {
    /// The frames of all slots.
    pub(in crate::page_list) fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Translates the memory; gives whether any frame is another than it was.
    pub(in crate::page_list) fn translate(
        &mut self,
        source: &impl PageSource,
        frames: &mut Frames,
    ) -> Result<bool, FramesError> {
        let stretches: Vec<SlotRange> = source.memory().collect();
        self.update(&stretches, source.page_bytes(), |at, piece| frames.translate(at, piece))
    }

    fn update<E>(
        &mut self,
        stretches: &[SlotRange],
        page_bytes: u32,
        mut translate: impl FnMut(ServerAddr, &mut [Frame]) -> Result<(), E>,
    ) -> Result<bool, E> {
        let count = |slots: u32| u64::from(slots) * u64::from(page_bytes) / FRAME_BYTES;
        let all = stretches.iter().map(|stretch| count(stretch.slots)).sum::<u64>();
        let len = usize::try_from(all).unwrap_or(0);
        let mut moved = self.frames.len() != len;
        self.frames.resize(len, Frame::ABSENT);
        let mut piece = vec![Frame::ABSENT; PIECE_FRAMES.min(len)];
        let mut rest = self.frames.as_mut_slice();
        for stretch in stretches {
            let count = usize::try_from(count(stretch.slots)).unwrap_or(0);
            let (own, later) = rest.split_at_mut(count);
            rest = later;
            let mut at = stretch.at;
            for known in own.chunks_mut(PIECE_FRAMES) {
                let now = &mut piece[..known.len()];
                translate(at, now)?;
                if known != now {
                    known.copy_from_slice(now);
                    moved = true;
                }
                at = at.plus(known.len() as u64 * FRAME_BYTES);
            }
        }
        Ok(moved)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn a_frame_that_moved_is_noticed_once() {
        let stretch = |at| SlotRange { at: ServerAddr(at), slots: 20_000 };
        let stretches = [stretch(1 << 30), stretch(5 << 30)];
        let mut table = FrameTable::default();
        let mut update = |moved: u64| {
            let translate = |at: ServerAddr, piece: &mut [Frame]| {
                for (frame, va) in piece.iter_mut().zip((at.0 / FRAME_BYTES)..) {
                    *frame = Frame::from_number(if va == moved { 7 } else { va });
                }
                Ok::<(), Infallible>(())
            };
            let Ok(any) = table.update(&stretches, 16384, translate);
            (any, table.frames.len(), table.frames[80_000].number())
        };
        let first = (5 << 30) / FRAME_BYTES;
        assert_eq!(update(0), (true, 160_000, Some(first)));
        assert_eq!(update(0), (false, 160_000, Some(first)));
        assert_eq!(update(first), (true, 160_000, Some(7)));
        assert_eq!(update(first), (false, 160_000, Some(7)));
        assert_eq!(update(first + 79_999), (true, 160_000, Some(first)));
    }
}
