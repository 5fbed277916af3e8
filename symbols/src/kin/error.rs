//! Why a build cannot be taken for the kin of a known one.

use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::elf::ElfError;

/// The code of a build could not be compared, or is not that of the known one.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum KinError {
    /// The program cannot be read.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// It has no unwind table, by which its functions are found.
    #[error("the program has no unwind table")]
    NoUnwindTable,
    /// The stored code of the known build cannot be read.
    #[error("the stored code of `{known}` cannot be read")]
    Unreadable {
        /// Name of the known build.
        known: String,
        /// Why.
        source: Cause,
    },
    /// The program loads at fixed addresses: then addresses stand in its code unmarked.
    #[error("the program is not position independent")]
    FixedAddresses,
    /// A program with debug information that is not the stripped one.
    #[error("the sections `{name}` differ")]
    OtherSection {
        /// Which.
        name: String,
    },
    /// Not all of the sources that are to be compared have debug information.
    #[error("the debug information lacks sources whose code is to be compared")]
    NoUnits,
    /// Functions on which the profile rests have other code.
    #[error("{count} of {of} functions have other code than in `{known}`: {}", names.join(", "))]
    Changed {
        /// Name of the known build.
        known: String,
        /// How many functions are other.
        count: usize,
        /// How many were compared.
        of: usize,
        /// The first of them.
        names: Vec<String>,
    },
    /// A place of the profile was not found again.
    #[error("`{name}` of `{known}` is not confirmed: {why}")]
    Unconfirmed {
        /// Name of the known build.
        known: String,
        /// The function or variable.
        name: String,
        /// Why not.
        why: Unconfirmed,
    },
}

/// Why a place was not found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unconfirmed {
    /// No function was found to be it alone.
    #[error("no function is it alone")]
    Ambiguous,
    /// The stored code does not have it.
    #[error("it is not in the stored code")]
    NotStored,
    /// Functions that use it disagree on where it is.
    #[error("functions that use it disagree on where it is")]
    Disagreement,
    /// Too few functions use it.
    #[error("too few functions use it")]
    FewUses,
    /// The program's own symbols differ.
    #[error("the program's own symbols have it elsewhere")]
    Symbols,
    /// The list of its names says otherwise.
    #[error("the list of its package says otherwise")]
    SymbolList,
    /// No instruction is there.
    #[error("no instruction is there")]
    NoInstruction,
}
