//! A count of all blocks by what they are, with a sample of their pages.

use super::error::ValidationError;
use super::identity::Sampled;
use crate::field_layout::FieldLayout;
use crate::memory::{Memory, MemoryError};
use crate::pool_map::PoolMap;
use crate::scan::{Block, scan};
use symbols::profile::PageState;

/// Pages in the sample.
const SAMPLE: usize = 1024;

/// What the descriptors of a pool say, in numbers.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// Blocks.
    pub(super) blocks: u64,
    /// Blocks with a page of a file.
    pub(super) pages: u64,
    /// Free blocks.
    pub(super) free: u64,
    /// Pages on the flush list; none where the profile does not know how a descriptor says so.
    pub(super) on_flush_list: Option<u64>,
    /// Of these, how many have the address of a descriptor where the LSN of their oldest change should be.
    addresses: u64,
    /// Blocks in no known state.
    unknown: u64,
    /// Blocks whose frame is not where the pool map puts it.
    elsewhere: u64,
    /// Pages spread over the pool that can be compared with their frames.
    pub(super) sample: Vec<Sampled>,
}

impl Census {
    /// One scan.
    pub(super) fn take(
        memory: Memory,
        layout: &FieldLayout,
        pool_map: &PoolMap,
    ) -> Result<Self, MemoryError> {
        let mut census = Self { sample: Vec::with_capacity(SAMPLE), ..Self::default() };
        let mut reservoir = Reservoir::default();
        let descriptors = pool_map.for_probes(layout);
        let is_descriptor = |addr: u64| {
            let at = descriptors.partition_point(|chunk| chunk.start <= addr);
            at.checked_sub(1).is_some_and(|at| addr < descriptors[at].end)
        };
        scan(memory, layout, pool_map, |block| {
            census.count(&block, is_descriptor);
            if Sampled::is_comparable(&block)
                && let Some(slot) = reservoir.slot()
            {
                match census.sample.get_mut(slot) {
                    Some(sampled) => *sampled = Sampled::of(&block),
                    None => census.sample.push(Sampled::of(&block)),
                }
            }
        })?;
        Ok(census)
    }

    fn count(&mut self, block: &Block<'_>, is_descriptor: impl Fn(u64) -> bool) {
        self.blocks += 1;
        match block.holds() {
            Some(PageState::Page) => {
                self.pages += 1;
                if let Some(is_on) = block.is_on_flush_list() {
                    *self.on_flush_list.get_or_insert(0) += u64::from(is_on);
                    self.addresses += u64::from(is_on && is_descriptor(block.oldest_lsn()));
                }
            }
            Some(PageState::Free) => self.free += 1,
            Some(PageState::NoFrame) => return,
            Some(PageState::Memory | PageState::Evicting) => {}
            None => self.unknown += 1,
        }
        self.elsewhere += u64::from(!block.frame_is_in_place());
    }

    /// Whether states and frames of all blocks make sense.
    pub(super) fn check(&self) -> Result<(), ValidationError> {
        let Self { unknown, elsewhere, blocks: of, .. } = *self;
        if unknown * 100 > of {
            return Err(ValidationError::States { unknown, of });
        }
        let changed = self.on_flush_list.unwrap_or(0);
        if self.addresses * 2 > changed {
            return Err(ValidationError::Changes { addresses: self.addresses, of: changed });
        }
        if elsewhere * 100 > of {
            return Err(ValidationError::Frames { elsewhere, of });
        }
        Ok(())
    }
}

/// Which of many to keep, so that each has the same chance.
struct Reservoir {
    seen: u64,
    // Any spread will do; a fixed seed makes the same pool give the same sample.
    random: u64,
}

impl Default for Reservoir {
    fn default() -> Self {
        Self { seen: 0, random: 0x9e37_79b9_7f4a_7c15 }
    }
}

impl Reservoir {
    /// Where to keep the next; nowhere, mostly.
    fn slot(&mut self) -> Option<usize> {
        self.seen += 1;
        if self.seen <= SAMPLE as u64 {
            return usize::try_from(self.seen - 1).ok();
        }
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from((self.random >> 16) % self.seen).ok().filter(|slot| *slot < SAMPLE)
    }
}
