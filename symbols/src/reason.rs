//! Why there is no answer: a value, not an error.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a name has no address, no offset or no value in this binary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    /// The binary has no DWARF and no `.symtab`, and no debug file was found for it.
    Stripped,
    /// Every copy of the function was inlined and no argument location is known there.
    InlinedAway,
    /// The function or its argument exists but its location was optimised out.
    OptimisedOut,
    /// The debug file that was found belongs to another build.
    BuildIdMismatch {
        /// Build id of the binary, hexadecimal.
        binary: String,
        /// Build id of the debug file, hexadecimal.
        debug: String,
    },
    /// The debug information has no such name; this version may not have it.
    NotInDebugInfo,
    /// No symbol of that name in `.dynsym` or `.symtab`.
    NoSuchSymbol,
    /// A stored profile names it otherwise, or leaves it out.
    NotInProfile,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stripped => f.write_str("stripped"),
            Self::InlinedAway => f.write_str("inlined away"),
            Self::OptimisedOut => f.write_str("optimised out"),
            Self::BuildIdMismatch { binary, debug } => {
                write!(f, "build-id mismatch: binary {binary}, debug file {debug}")
            }
            Self::NotInDebugInfo => f.write_str("not in the debug information"),
            Self::NoSuchSymbol => f.write_str("no such symbol"),
            Self::NotInProfile => f.write_str("not in the stored profile"),
        }
    }
}
