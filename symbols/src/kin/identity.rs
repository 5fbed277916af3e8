//! Whether a program that was made again from its source is the distributed one.

use std::collections::BTreeSet;

use object::{Object as _, ObjectSymbol as _};

use super::KinError;
use crate::elf::{ElfError, Program};

/// Code and data that debug information speaks of, and the unwind tables.
const SECTIONS: [&str; 6] =
    [".text", ".rodata", ".data", ".data.rel.ro", ".init_array", ".eh_frame"];

/// By what two programs are known to be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Their build ids, and all code and data.
    BuildId,
    /// All code and data, to the byte and at the same addresses, and all exported symbols; their build ids differ. A linker counts
    /// notes into the build id, and Debian's tools add one since trixie (`.note.package`).
    Bytes,
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BuildId => "same build id, code and data",
            Self::Bytes => "another build id, same code and data",
        })
    }
}

/// Compares `rebuilt`, with its debug information, with `stripped`.
///
/// # Errors
/// They differ in code, data or exported symbols; or one of them cannot be read.
pub fn same_program(rebuilt: &Program, stripped: &Program) -> Result<Identity, KinError> {
    for name in SECTIONS {
        let (one, other) = (rebuilt.section(name)?, stripped.section(name)?);
        let places = (rebuilt.section_address(name), stripped.section_address(name));
        let lacks = one.is_none() && name == ".text";
        if lacks || one != other || places.0 != places.1 {
            return Err(KinError::OtherSection { name: name.to_owned() });
        }
    }
    if exported(rebuilt)? != exported(stripped)? {
        return Err(KinError::OtherSection { name: ".dynsym".to_owned() });
    }
    let same_id = rebuilt.build_id().is_some() && rebuilt.build_id() == stripped.build_id();
    Ok(if same_id { Identity::BuildId } else { Identity::Bytes })
}

/// Name, address, size and kind of each exported symbol. Not the number of its section: one section more moves it.
fn exported(program: &Program) -> Result<BTreeSet<(&str, u64, u64, String)>, ElfError> {
    let elf = program.elf()?;
    let symbols = elf.dynamic_symbols().filter(|symbol| symbol.is_definition());
    let described = symbols.filter_map(|symbol| {
        let kind = format!("{:?}, {}", symbol.kind(), symbol.is_weak());
        Some((symbol.name().ok()?, symbol.address(), symbol.size(), kind))
    });
    Ok(described.collect())
}
