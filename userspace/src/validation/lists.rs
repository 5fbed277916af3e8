//! The lengths of the server's own lists beside what the descriptors say.

use super::census::Census;
use super::error::ValidationError;
use crate::field_layout::{FieldLayout, Slot};
use crate::memory::{Memory, MemoryError, ServerAddr};
use crate::pool_map::PoolMap;

/// Blocks on their way from one list to another, at most, beside a hundredth of the pool.
const ON_THE_WAY: u64 = 32;

/// Compressed pages of the smallest size, 1 KiB, that fit into the largest page, 64 KiB.
const SMALLEST: u64 = 64;

/// Lengths of lists over all instances; none where the profile does not have them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    lru: Option<u64>,
    free: Option<u64>,
    flush: Option<u64>,
}

impl Lengths {
    pub(super) fn read(
        memory: Memory,
        layout: &FieldLayout,
        pool_map: &PoolMap,
    ) -> Result<Self, MemoryError> {
        let read = |slot: Option<Slot>| {
            let Some(slot) = slot else { return Ok(None) };
            let length = |pool: &ServerAddr| memory.integer(pool.plus(slot.offset()), slot.size());
            let lengths: Vec<u64> = pool_map.pools.iter().map(length).collect::<Result<_, _>>()?;
            Ok(Some(lengths.iter().fold(0, |sum, length| length.saturating_add(sum))))
        };
        let lists = &layout.pool.lists;
        Ok(Self { lru: read(lists.lru)?, free: read(lists.free)?, flush: read(lists.flush)? })
    }

    /// Whether no page is listed, as far as the profile knows.
    pub(super) const fn have_no_page(&self) -> bool {
        matches!(self.lru, None | Some(0))
    }
}

/// Compares a census with the lengths before and after it.
///
/// A compressed page without a frame has a descriptor elsewhere: it stands in the lists and in no block. So there may be fewer
/// pages than the list of pages is long, and as many fewer on the flush list.
pub(super) fn compare(
    census: &Census,
    before: &Lengths,
    after: &Lengths,
) -> Result<(), ValidationError> {
    let slack = census.blocks / 100 + ON_THE_WAY;
    let mut without_frame = u64::MAX;
    if let Some((least, most)) = both(before.lru, after.lru) {
        at_most("pages", census.pages, most, slack)?;
        without_frame = least.saturating_sub(census.pages);
        // A number, not an address: so many pages without a frame fit into the pool at most.
        if without_frame > census.blocks.saturating_mul(SMALLEST) {
            return Err(ValidationError::Lists {
                what: "pages",
                counted: census.pages,
                length: least,
            });
        }
    }
    if let Some((least, most)) = both(before.free, after.free) {
        at_most("free", census.free, most, slack)?;
        at_least("free", census.free, least, slack)?;
    }
    if let (Some(counted), Some((least, most))) =
        (census.on_flush_list, both(before.flush, after.flush))
    {
        at_most("dirty", counted, most, slack)?;
        at_least("dirty", counted, least, slack.saturating_add(without_frame))?;
    }
    Ok(())
}

/// The smaller and the larger of two lengths.
fn both(before: Option<u64>, after: Option<u64>) -> Option<(u64, u64)> {
    let (before, after) = (before?, after?);
    Some((before.min(after), before.max(after)))
}

fn at_most(
    what: &'static str,
    counted: u64,
    length: u64,
    slack: u64,
) -> Result<(), ValidationError> {
    match counted <= length.saturating_add(slack) {
        true => Ok(()),
        false => Err(ValidationError::Lists { what, counted, length }),
    }
}

fn at_least(
    what: &'static str,
    counted: u64,
    length: u64,
    slack: u64,
) -> Result<(), ValidationError> {
    match counted.saturating_add(slack) >= length {
        true => Ok(()),
        false => Err(ValidationError::Lists { what, counted, length }),
    }
}
