//! The scan: every block descriptor, read in bulk.
//!
//! Descriptors are read with `process_vm_readv` in pieces that stay in the cache, so a scan costs one
//! system call per [`PIECE_BYTES`] and no memory to speak of.

use std::ops::Range;

use symbols::profile::{PageState, RuleReason};

use crate::field_layout::{BlockLayout, FieldLayout};
use crate::memory::{Memory, MemoryError, ServerAddr};
use crate::pool_map::{Chunk, PoolMap};

/// Bytes of descriptors read by one system call: small enough for a level-2 cache.
pub const PIECE_BYTES: usize = 512 << 10;

/// One block as its descriptor describes it.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// Index in pool order.
    pub index: u32,
    /// The raw descriptor.
    bytes: &'a [u8],
    layout: &'a BlockLayout,
    /// Where its frame must be, from the chunk's pool map.
    expected_frame: ServerAddr,
}

impl Block<'_> {
    /// Space id.
    #[must_use]
    pub fn space(&self) -> u32 {
        truncate(self.layout.space.read(self.bytes))
    }

    /// Page number.
    #[must_use]
    pub fn page(&self) -> u32 {
        truncate(self.layout.page.read(self.bytes))
    }

    /// LSN of the oldest unwritten change, as the server keeps it; [`Block::fails`] decides what is dirty.
    #[must_use]
    pub fn oldest_lsn(&self) -> u64 {
        self.layout.oldest_lsn.map_or(0, |slot| slot.read(self.bytes))
    }

    /// LSN of the newest change, 0 where none happened since the page was read (or it is not kept).
    #[must_use]
    pub fn newest_lsn(&self) -> u64 {
        self.layout.newest_lsn.map_or(0, |slot| slot.read(self.bytes))
    }

    /// What the block holds by its state word; nothing where the profile does not know its value.
    #[must_use]
    #[inline]
    pub fn holds(&self) -> Option<PageState> {
        self.layout.page_state(self.bytes)
    }

    /// The first condition of the clean rule that the descriptor fails. It counts where the block holds a page.
    #[must_use]
    #[inline]
    pub fn first_failure(&self) -> Option<RuleReason> {
        self.layout.first_failure(self.bytes)
    }

    /// Whether the descriptor fails a condition of the clean rule with this reason.
    #[must_use]
    pub fn fails(&self, reason: RuleReason) -> bool {
        self.layout.fails(self.bytes, reason)
    }

    /// Whether its page is on the flush list, where the profile knows how the descriptor says so.
    #[must_use]
    #[inline]
    pub fn is_on_flush_list(&self) -> Option<bool> {
        self.layout.is_on_flush_list(self.bytes)
    }

    /// Whether its page is being read.
    #[must_use]
    pub fn is_being_read(&self) -> bool {
        self.layout.reading.holds(self.bytes)
    }

    /// Whether its frame is where the chunk's pool map puts it.
    #[must_use]
    #[inline]
    pub fn frame_is_in_place(&self) -> bool {
        self.frame() == self.expected_frame
    }

    /// Address of the frame.
    #[must_use]
    pub fn frame(&self) -> ServerAddr {
        ServerAddr(self.layout.frame.read(self.bytes))
    }

    /// Address of the tablespace object and the version that the page belongs to, where kept.
    #[must_use]
    pub fn space_version(&self) -> Option<(ServerAddr, u32)> {
        let object = self.layout.space_object?.read(self.bytes);
        let version = self.layout.space_version?.read(self.bytes);
        Some((ServerAddr(object), truncate(version)))
    }
}

/// A value of at most 32 bits by the profile.
#[expect(clippy::cast_possible_truncation, reason = "the layout's field is 32 bits wide")]
const fn truncate(value: u64) -> u32 {
    value as u32
}

/// Calls `each` with every block of the pool in pool order.
///
/// # Errors
/// When the memory cannot be read: the server is gone or its pool was resized.
pub fn scan(
    memory: Memory,
    layout: &FieldLayout,
    pool_map: &PoolMap,
    mut each: impl FnMut(Block<'_>),
) -> Result<(), MemoryError> {
    scan_blocks(memory, layout, pool_map, 0..u32::MAX, &mut scan_buffer(layout), &mut each)
}

/// A buffer for [`scan_blocks`] and [`scan_range`].
#[must_use]
pub fn scan_buffer(layout: &FieldLayout) -> Vec<u8> {
    vec![0; PIECE_BYTES.max(layout.block.stride)]
}

/// Calls `each` with the blocks of `range` (indices in pool order); what lies beyond the pool is
/// left out.
///
/// # Errors
/// As [`scan`].
pub fn scan_blocks(
    memory: Memory,
    layout: &FieldLayout,
    pool_map: &PoolMap,
    range: Range<u32>,
    buffer: &mut [u8],
    each: &mut impl FnMut(Block<'_>),
) -> Result<(), MemoryError> {
    for chunk in &pool_map.chunks {
        let inside = |index: u32| index.saturating_sub(chunk.first).min(chunk.blocks);
        let range = inside(range.start)..inside(range.end);
        scan_range(memory, layout, pool_map.page_size, chunk, range, buffer, each)?;
    }
    Ok(())
}

/// Reads one descriptor again, and looks at it; nothing when the block is no longer in the pool map.
///
/// # Errors
/// As [`scan`].
pub fn scan_block<T>(
    memory: Memory,
    layout: &FieldLayout,
    pool_map: &PoolMap,
    index: u32,
    look: impl Fn(&Block<'_>) -> T,
) -> Result<Option<T>, MemoryError> {
    let mut result = None;
    let mut buffer = vec![0; layout.block.stride];
    scan_blocks(memory, layout, pool_map, index..index + 1, &mut buffer, &mut |block| {
        result = Some(look(&block));
    })?;
    Ok(result)
}

/// Calls `each` with the blocks of `range` (indices inside the chunk).
///
/// # Errors
/// As [`scan`].
pub fn scan_range(
    memory: Memory,
    layout: &FieldLayout,
    page_size: u32,
    chunk: &Chunk,
    range: Range<u32>,
    buffer: &mut [u8],
    each: &mut impl FnMut(Block<'_>),
) -> Result<(), MemoryError> {
    let stride = layout.block.stride;
    let per_piece = u32::try_from(buffer.len() / stride).unwrap_or(u32::MAX).max(1);
    let mut at = range.start;
    while at < range.end {
        let count = per_piece.min(range.end - at);
        let bytes = &mut buffer[..count as usize * stride];
        memory.read(chunk.descriptors.plus(u64::from(at) * stride as u64), bytes)?;
        for (offset, descriptor) in (0..count).zip(bytes.chunks_exact(stride)) {
            let inside = at + offset;
            each(Block {
                index: chunk.first + inside,
                bytes: descriptor,
                layout: &layout.block,
                expected_frame: chunk.frames.plus(u64::from(inside) * u64::from(page_size)),
            });
        }
        at += count;
    }
    Ok(())
}
