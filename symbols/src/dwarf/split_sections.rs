//! The sections of a split file, and the reader over them.

use gimli::{DwarfPackageSections, DwoId, LittleEndian};

use super::unit_id::UnitId;
use super::{Sections, Slice};
use crate::elf::Section;

/// The sections of a split file that was found.
#[derive(Debug)]
pub(crate) struct SplitSections<'p> {
    pub(super) skeleton: UnitId,
    pub(super) sections: SectionKind<'p>,
}

#[derive(Debug)]
pub(super) enum SectionKind<'p> {
    Unit(Box<Sections<'p>>),
    Package(Box<DwarfPackageSections<Section<'p>>>, DwoId),
}

impl SplitSections<'_> {
    /// The skeleton unit that they belong to.
    pub(crate) fn skeleton(&self) -> UnitId {
        self.skeleton
    }

    /// The reader over them; `parent` is the file of the skeleton unit. None when a package is
    /// broken.
    pub(crate) fn dwarf<'d>(
        &'d self,
        parent: &gimli::Dwarf<Slice<'d>>,
    ) -> Option<gimli::Dwarf<Slice<'d>>> {
        let borrow = |bytes: &'d Section<'_>| Slice::new(bytes, LittleEndian);
        match &self.sections {
            SectionKind::Unit(sections) => {
                let mut dwarf = sections.dwarf();
                dwarf.make_dwo(parent);
                Some(dwarf)
            }
            SectionKind::Package(sections, id) => sections
                .borrow(borrow, Slice::new(&[], LittleEndian))
                .and_then(|package| package.find_cu(*id, parent))
                .inspect_err(|e| log::warn!("a DWARF package is left out: {e}"))
                .ok()?,
        }
    }
}
