//! The validation of a profile: what it says of the pool must agree with the pool itself, in three ways.
//!
//! ```text
//! all blocks   the state word is a known one; the frame is where the pool map puts it
//! lists        as many blocks in a state as the server's own list of them is long
//! pages        what 1024 descriptors say stands in the frames
//! ```
//!
//! Every page in a frame carries its own page number and space id (`FIL_PAGE_OFFSET` at 4,
//! `FIL_PAGE_SPACE_ID` at 34, big-endian; fil0fil.h). Before all of this has passed, nothing that was read is believed.

mod census;
mod identity;
mod lists;

use std::thread;
use std::time::Duration;

use thiserror::Error;

use crate::field_layout::FieldLayout;
use crate::memory::{Memory, MemoryError};
use crate::pool_map::PoolMap;
use census::Census;
use lists::Lengths;

/// Pools that change while they are counted are counted again, so often at most.
const ATTEMPTS: u32 = 5;
/// Time between two counts.
const PAUSE: Duration = Duration::from_millis(20);

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
    /// Frames are elsewhere than the pool map says.
    #[error(
        "the profile does not fit this server: the frames of {elsewhere} of {of} blocks are not where they must be"
    )]
    Frames {
        /// Blocks whose frame is elsewhere.
        elsewhere: u64,
        /// Blocks looked at.
        of: u64,
    },
    /// A list of the server has another length than there are such blocks.
    #[error(
        "the profile does not fit this server: {counted} blocks are {what}, and the server's list of them has {length}"
    )]
    Lists {
        /// What is listed.
        what: &'static str,
        /// Blocks that are this by their descriptors.
        counted: u64,
        /// The server's number.
        length: u64,
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
            Self::Disproved { .. }
            | Self::Frames { .. }
            | Self::Lists { .. }
            | Self::States { .. } => Some(OTHER_BUILD),
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

/// Proves the profile on the pool as it lies.
///
/// # Errors
/// When more than 1 % of the blocks, of a list or of the pages compared speak against it, or no page could be compared.
pub fn validate(
    memory: Memory,
    layout: &FieldLayout,
    pool_map: &PoolMap,
) -> Result<Validation, ValidationError> {
    let mut attempt = 1;
    let census = loop {
        let before = Lengths::read(memory, layout, pool_map)?;
        let census = Census::take(memory, layout, pool_map)?;
        let after = Lengths::read(memory, layout, pool_map)?;
        match census.check().and_then(|()| lists::compare(&census, &before, &after)) {
            Ok(()) => break census,
            Err(error) if attempt == ATTEMPTS => return Err(error),
            Err(_) => attempt += 1,
        }
        thread::sleep(PAUSE);
    };
    identity::compare(memory, layout, pool_map, census.sample)
}

#[cfg(test)]
mod tests;
