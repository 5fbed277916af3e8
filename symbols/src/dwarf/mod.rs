//! DWARF 2 to 5: types, enumerators, globals and functions of the few units that matter.
//!
//! ```text
//! sections   bytes of one file (program, debug file, dwz alternate, .dwo), decompressed
//! info       units of all files, parsed when needed; references between them
//! choose     which units matter, by the names of their sources; split: their .dwo parts
//! index      one walk over the chosen units: where the wanted names stand
//! types      size of a type, offset of a member path, bit-fields (bits)
//! function   copies of a function: its body, clones, inlined; where their arguments stand
//!            (location; frame, for locations relative to the canonical frame address)
//! ```
//!
//! Everything read is foreign: a broken unit is left out with a warning, chains of references are
//! followed [`MAX_CHAIN`] steps at most, and a walk has a budget, so that no file makes this crate
//! panic or run away.

mod bits;
mod choose;
mod frame;
mod function;
mod index;
mod info;
mod location;
mod sections;
pub(crate) mod split;
mod split_sections;
mod types;
mod unit_id;

pub(crate) use choose::choose;
pub(crate) use frame::UnwindTable;
pub(crate) use function::{Copy, CopyKind, Functions};
pub(crate) use index::{Index, WantedNames};
pub(crate) use info::{DebugInfo, DieRef, MAX_UNITS, TooManyUnits, UnitId};
pub(crate) use sections::Sections;
pub(crate) use types::Types;

/// Bytes of a section, without a copy.
pub(crate) type Slice<'d> = gimli::EndianSlice<'d, gimli::LittleEndian>;
/// One debugging information entry.
pub(crate) type Die<'d> = gimli::DebuggingInformationEntry<Slice<'d>>;
/// Value of an attribute.
pub(crate) type Value<'d> = gimli::AttributeValue<Slice<'d>>;

/// Longest chain of references (typedef of const of typedef ..., origin of specification ...).
const MAX_CHAIN: usize = 32;

/// Most attributes of one entry. Compilers write below 30; entries without bytes (`flag_present`,
/// `implicit_const`) would otherwise let a small file ask for endless work.
const MAX_ATTRIBUTES: usize = 256;
