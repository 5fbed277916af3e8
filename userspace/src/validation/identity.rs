//! The identity of pages: what a descriptor says of its page must stand in the frame.

use symbols::profile::RuleReason;

use super::error::ValidationError;
use crate::classify::{Reason, described, is_space};
use crate::field_layout::FieldLayout;
use crate::memory::{Memory, MemoryError, ServerAddr};
use crate::pool_map::PoolMap;
use crate::scan::{Block, scan_block};

/// Bytes of a page that hold its identity.
const HEADER: usize = 38;

/// How well the profile fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validation {
    /// Pages compared.
    pub compared: usize,
    /// Pages whose frame disagreed: being read or created when we looked.
    pub wrong: usize,
}

/// A page as its descriptor names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sampled {
    index: u32,
    space: u32,
    page: u32,
    frame: ServerAddr,
    /// The object of its tablespace, and the version of that, where the descriptor has them.
    tablespace: Option<(ServerAddr, u32)>,
}

impl Sampled {
    /// Whether its frame holds a page as the tablespace has it, changed or not: one in no transit, and not compressed.
    pub(super) fn is_comparable(block: &Block<'_>) -> bool {
        let unchanging = [RuleReason::Dirty, RuleReason::Fixed].map(Reason::Rule);
        let class = described(block);
        class.state.is_page()
            && block.frame_is_in_place()
            && class.reason.is_none_or(|reason| unchanging.contains(&reason))
    }

    /// What the descriptor says.
    pub(super) fn of(block: &Block<'_>) -> Self {
        Self {
            index: block.index,
            space: block.space(),
            page: block.page(),
            frame: block.frame(),
            tablespace: block.space_version(),
        }
    }

    /// Whether the frame carries the page's identity; nothing where it carries none: a page of zeros was allocated
    /// and never written.
    fn agrees(&self, memory: Memory) -> Result<Option<bool>, MemoryError> {
        let mut header = [0; HEADER];
        memory.read(self.frame, &mut header)?;
        let word = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        Ok((header != [0; HEADER]).then(|| word(4) == self.page && word(34) == self.space))
    }
}

/// Compares a sample of pages with their frames; at least 99 % must agree.
///
/// A page that leaves its frame between the two looks proves nothing: where the two disagree, the descriptor is
/// read again, and only one that still says the same counts.
pub(super) fn compare(
    memory: Memory,
    layout: &FieldLayout,
    pool_map: &PoolMap,
    sample: Vec<Sampled>,
) -> Result<Validation, ValidationError> {
    let (mut compared, mut wrong, mut of_a_space) = (0, 0, 0);
    for page in sample {
        let Some(agrees) = page.agrees(memory)? else { continue };
        let stays = |block: &Block<'_>| Sampled::is_comparable(block) && Sampled::of(block) == page;
        if !agrees && scan_block(memory, layout, pool_map, page.index, stays)? != Some(true) {
            continue;
        }
        compared += 1;
        wrong += usize::from(!agrees);
        let is_of_its_space = |layout| match page.tablespace {
            Some((object, _)) => is_space(memory, layout, object, page.space),
            None => true,
        };
        of_a_space += usize::from(layout.space.as_ref().is_none_or(is_of_its_space));
    }
    if compared == 0 {
        return Err(ValidationError::Empty);
    }
    if wrong * 100 > compared {
        return Err(ValidationError::Disproved { wrong, of: compared });
    }
    // Whatever the version: after a DROP all but a few pages may be of tablespaces that are gone.
    if of_a_space * 100 < compared {
        return Err(ValidationError::Tablespaces { of_a_space, of: compared });
    }
    Ok(Validation { compared, wrong })
}
