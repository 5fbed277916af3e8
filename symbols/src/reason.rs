//! Why there is no answer: a value, not an error.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a name has no address, no offset or no value in this binary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum UnresolvedReason {
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
    /// The debug information has line tables only (`-g1`), so neither types nor variables.
    LinesOnly,
    /// No unit of the debug information can be read.
    Unreadable,
    /// The debug information stands in split units (`-gsplit-dwarf`) that were not found.
    SplitUnitsMissing,
    /// A stored profile names it otherwise, or leaves it out.
    NotInProfile,
    /// The server's definition names nothing for it.
    NotInDefinition,
    /// The known build has other code there, or uses it elsewhere.
    OtherCode,
}

impl fmt::Display for UnresolvedReason {
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
            Self::LinesOnly => f.write_str("its debug information has lines only (-g1), no types"),
            Self::Unreadable => f.write_str("its debug information cannot be read"),
            Self::SplitUnitsMissing => f.write_str(
                "its debug information is split, and the .dwo or .dwp files are not there",
            ),
            Self::NotInProfile => f.write_str("not in the stored profile"),
            Self::NotInDefinition => f.write_str("not in the server's definition"),
            Self::OtherCode => f.write_str("other code than in the known build"),
        }
    }
}
