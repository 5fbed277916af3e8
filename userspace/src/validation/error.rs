//! Why a profile does not fit a pool.

use thiserror::Error;

use crate::memory::MemoryError;

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
    /// What should be LSNs are addresses.
    #[error(
        "the profile does not fit this server: {addresses} of {of} LSNs of changes are addresses"
    )]
    Changes {
        /// Pages with an address in place of an LSN.
        addresses: u64,
        /// Pages with unwritten changes.
        of: u64,
    },
    /// Pages do not point to their tablespaces.
    #[error(
        "the profile does not fit this server: {of_a_space} of {of} pages point to their tablespace"
    )]
    Tablespaces {
        /// Pages that point to an object with the id of their tablespace.
        of_a_space: usize,
        /// Pages looked at.
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
    /// True where a server that is making its pool larger or smaller may be the reason: its lists change before its number of blocks does.
    #[must_use]
    pub const fn may_be_a_resize(&self) -> bool {
        matches!(self, Self::Frames { .. } | Self::Lists { .. } | Self::Changes { .. })
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Disproved { .. }
            | Self::Frames { .. }
            | Self::Lists { .. }
            | Self::Changes { .. }
            | Self::Tablespaces { .. }
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
