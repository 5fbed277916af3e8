//! The validation of a profile: what the descriptors have must stand in the frames.
//!
//! Every page in a frame carries its own page number and space id (`FIL_PAGE_OFFSET` at 4,
//! `FIL_PAGE_SPACE_ID` at 34, big-endian; fil0fil.h). A profile with a wrong offset or stride cannot
//! agree with them. Before this has passed, nothing that was read is believed.

use thiserror::Error;

use crate::classify::{Reason, State, described};
use crate::field_layout::FieldLayout;
use crate::memory::{Memory, MemoryError, ServerAddr};
use crate::pool_map::PoolMap;
use crate::scan::{Block, scan, scan_block};

/// Pages looked at.
const SAMPLE: usize = 1024;
/// Bytes of a page that hold its identity.
const HEADER: usize = 38;

/// The remedy where the profile does not fit the server.
pub(crate) const OTHER_BUILD: &str = "the stored profile or the debug file belongs to another build: \
    clear the profile cache, or install the debug symbols of exactly this build";

/// The profile does not fit the live pool.
#[derive(Debug, Error)]
pub enum ValidationError {
    /// Memory could not be read.
    #[error("failed to read the pool")]
    Memory(#[from] MemoryError),
    /// The pool holds no page yet.
    #[error("the pool holds no page yet that could validate the profile")]
    Empty,
    /// Descriptors and frames disagree.
    #[error(
        "the profile does not fit this server: {wrong} of {of} descriptors disagree with their frames"
    )]
    Disproved {
        /// Pages that disagree.
        wrong: usize,
        /// Pages compared.
        of: usize,
    },
    /// The state words make no sense.
    #[error("the profile does not fit this server: {unknown} of {of} blocks are in no known state")]
    States {
        /// Blocks with an unknown state word.
        unknown: u64,
        /// Blocks looked at.
        of: u64,
    },
}

impl ValidationError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Disproved { .. } | Self::States { .. } => Some(OTHER_BUILD),
            Self::Empty => Some("try again when the server has opened its tables"),
            Self::Memory(error) => hint_for(error),
        }
    }
}

/// The remedy where an address that came by the profile cannot be read: it is wild, unless the
/// right to read or the server itself is missing.
pub(crate) fn hint_for(error: &MemoryError) -> Option<&'static str> {
    error.hint().or((!error.is_gone()).then_some(OTHER_BUILD))
}

/// How well the profile fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validation {
    /// Pages compared.
    pub compared: usize,
    /// Pages whose frame disagreed: being read or created when we looked.
    pub wrong: usize,
}

/// Compares up to 1024 pages spread over the pool; at least 99 % must agree.
///
/// A page that leaves its frame between the two looks proves nothing: where the two disagree, the descriptor is
/// read again, and only one that is still the same counts.
///
/// # Errors
/// When they do not, or nothing could be compared.
pub fn validate(
    memory: Memory,
    layout: &FieldLayout,
    pool_map: &PoolMap,
) -> Result<Validation, ValidationError> {
    let sample = sample(memory, layout, pool_map)?;
    if sample.is_empty() {
        return Err(ValidationError::Empty);
    }
    let (mut compared, mut wrong) = (0, 0);
    for page in sample {
        let Some(agrees) = page.agrees(memory)? else { continue };
        let stays =
            |block: &Block<'_>| described(block).reason.is_none() && Sampled::of(block) == page;
        if !agrees && scan_block(memory, layout, pool_map, page.index, stays)? != Some(true) {
            continue;
        }
        compared += 1;
        wrong += usize::from(!agrees);
    }
    if compared == 0 {
        return Err(ValidationError::Empty);
    }
    if wrong * 100 > compared {
        return Err(ValidationError::Disproved { wrong, of: compared });
    }
    Ok(Validation { compared, wrong })
}

/// A page as its descriptor names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sampled {
    index: u32,
    space: u32,
    page: u32,
    frame: ServerAddr,
}

impl Sampled {
    /// What the descriptor has, of a page that is in no transit.
    fn of(block: &Block<'_>) -> Self {
        Self { index: block.index, space: block.space(), page: block.page(), frame: block.frame() }
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

/// Reservoir sample of the pages that are in no transit.
fn sample(
    memory: Memory,
    layout: &FieldLayout,
    pool_map: &PoolMap,
) -> Result<Vec<Sampled>, ValidationError> {
    let mut sample = Vec::with_capacity(SAMPLE);
    let (mut seen, mut unknown, mut blocks) = (0_u64, 0_u64, 0_u64);
    let mut elsewhere = 0_usize;
    // Any spread will do; a fixed seed makes the same pool give the same sample.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    scan(memory, layout, pool_map, |block| {
        blocks += 1;
        let class = described(&block);
        match class.reason {
            None => {}
            Some(Reason::FrameElsewhere) => {
                elsewhere += 1;
                return;
            }
            Some(Reason::State(State::Unknown)) => {
                unknown += 1;
                return;
            }
            Some(_) => return,
        }
        seen += 1;
        let found = Sampled::of(&block);
        if sample.len() < SAMPLE {
            sample.push(found);
            return;
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if let Some(slot) = usize::try_from((random >> 16) % seen).ok().filter(|s| *s < SAMPLE) {
            sample[slot] = found;
        }
    })?;
    if unknown * 100 > blocks {
        return Err(ValidationError::States { unknown, of: blocks });
    }
    if sample.is_empty() && elsewhere > 0 {
        return Err(ValidationError::Disproved { wrong: elsewhere, of: elsewhere });
    }
    Ok(sample)
}
