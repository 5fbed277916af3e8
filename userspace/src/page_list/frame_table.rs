//! The frames of the whole pool by block. They move, so all of them are translated for each list; the table
//! is kept to tell whether any has moved since the last.

use crate::frames::{FRAME_BYTES, Frame, Frames, FramesError};
use crate::geometry::Geometry;
use crate::memory::ServerAddr;

/// Frames that are translated at a time, and compared while they are in the cache.
const PIECE_FRAMES: usize = 1 << 15;

/// Frames by block, `page_size / FRAME_BYTES` each.
#[derive(Default)]
pub(super) struct FrameTable {
    frames: Vec<Frame>,
}

impl FrameTable {
    /// The frames of all blocks.
    pub(super) fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Translates the pool; gives whether any frame is another than it was.
    pub(super) fn translate(
        &mut self,
        geometry: &Geometry,
        frames: &mut Frames,
    ) -> Result<bool, FramesError> {
        self.update(geometry, |at, piece| frames.translate(at, piece))
    }

    fn update<E>(
        &mut self,
        geometry: &Geometry,
        mut translate: impl FnMut(ServerAddr, &mut [Frame]) -> Result<(), E>,
    ) -> Result<bool, E> {
        let len = usize::try_from(geometry.frame_bytes() / FRAME_BYTES).unwrap_or(0);
        let mut moved = self.frames.len() != len;
        self.frames.resize(len, Frame::ABSENT);
        let mut piece = vec![Frame::ABSENT; PIECE_FRAMES.min(len)];
        let mut rest = self.frames.as_mut_slice();
        for chunk in &geometry.chunks {
            let bytes = u64::from(chunk.blocks) * u64::from(geometry.page_size);
            let count = usize::try_from(bytes / FRAME_BYTES).unwrap_or(0);
            let (own, later) = rest.split_at_mut(count);
            rest = later;
            let mut at = chunk.frames;
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
    use crate::geometry::Chunk;

    #[test]
    fn a_frame_that_moved_is_noticed_once() {
        let chunk = |first, frames| Chunk {
            descriptors: ServerAddr(0),
            frames: ServerAddr(frames),
            blocks: 20_000,
            first,
            instance: 0,
        };
        let chunks = vec![chunk(0, 1 << 30), chunk(20_000, 5 << 30)];
        let geometry = Geometry { page_size: 16384, instances: 1, chunks };
        let mut table = FrameTable::default();
        let mut update = |moved: u64| {
            let translate = |at: ServerAddr, piece: &mut [Frame]| {
                for (frame, va) in piece.iter_mut().zip((at.0 / FRAME_BYTES)..) {
                    *frame = Frame::from_number(if va == moved { 7 } else { va });
                }
                Ok::<(), Infallible>(())
            };
            let Ok(any) = table.update(&geometry, translate);
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
