//! The DWARF sections of one file.

use gimli::{DwarfSections, LittleEndian, SectionId};

use super::Slice;
use crate::elf::{ElfError, Program, Section};

/// DWARF sections of one file, borrowed from its copy or decompressed.
#[derive(Debug)]
pub(crate) struct Sections<'p>(DwarfSections<Section<'p>>);

impl<'p> Sections<'p> {
    /// Sections of a program, a separate debug file or a dwz alternate.
    pub(crate) fn load(program: &'p Program) -> Result<Self, ElfError> {
        DwarfSections::load(|id| read(program, id, Some(id.name()))).map(Self)
    }

    /// Sections of a `.dwo` file (`.debug_info.dwo`, ...).
    pub(crate) fn load_split(program: &'p Program) -> Result<Self, ElfError> {
        DwarfSections::load(|id| read(program, id, id.dwo_name())).map(Self)
    }

    /// False when `.debug_info` is missing, empty or broken from the start.
    pub(crate) fn has_units(&self) -> bool {
        self.dwarf().units().next().is_ok_and(|unit| unit.is_some())
    }

    /// The reader over them.
    pub(crate) fn dwarf(&self) -> gimli::Dwarf<Slice<'_>> {
        self.0.borrow(|bytes| Slice::new(bytes, LittleEndian))
    }
}

fn read<'p>(
    program: &'p Program,
    id: SectionId,
    name: Option<&str>,
) -> Result<Section<'p>, ElfError> {
    // Not needed, and large when compressed.
    let unused = matches!(
        id,
        SectionId::DebugMacro
            | SectionId::DebugMacinfo
            | SectionId::DebugNames
            | SectionId::DebugAranges
    );
    let Some(name) = name.filter(|_| !unused) else { return Ok(Section::default()) };
    Ok(program.section(name)?.unwrap_or_default())
}
