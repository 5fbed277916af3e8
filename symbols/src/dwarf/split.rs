//! Split DWARF: the `.dwo` or `.dwp` parts of skeleton units.

use gimli::{DwarfPackageSections, DwoId, LittleEndian};

use super::info::UnitId;
use super::{DebugInfo, Sections, Slice};
use crate::debug_file::{Attempt, DwoLoader, SplitFile, SplitUnit};
use crate::elf::{ElfError, Section};

/// A split file that was found, and whose it is.
#[derive(Debug)]
pub(crate) struct Found {
    skeleton: UnitId,
    id: DwoId,
    file: SplitFile,
}

/// The sections of a [`Found`].
#[derive(Debug)]
pub(crate) struct SplitSections<'p> {
    skeleton: UnitId,
    sections: Kind<'p>,
}

#[derive(Debug)]
enum Kind<'p> {
    Unit(Box<Sections<'p>>),
    Package(Box<DwarfPackageSections<Section<'p>>>, DwoId),
}

/// A split file that was found but cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SplitError {
    #[error(transparent)]
    Elf(#[from] ElfError),
    #[error("malformed DWARF package")]
    Package(#[from] gimli::Error),
}

/// Looks for the split file of each unit of `units` that is a skeleton; gives those found, and how
/// many were not.
pub(crate) fn find(
    info: &DebugInfo<'_>,
    units: &[UnitId],
    loader: &DwoLoader,
    tried: &mut Vec<Attempt>,
) -> (Vec<Found>, usize) {
    let (mut found, mut lacking) = (Vec::new(), 0);
    for &skeleton in units {
        let Some(unit) = info.unit(skeleton) else { continue };
        let (Some(id), Some(name)) = (unit.dwo_id, info.split_name(skeleton)) else { continue };
        let comp_dir = unit.comp_dir.map_or(&[][..], |dir| dir.slice());
        match loader.load(&SplitUnit { id, name: &name, comp_dir }, tried) {
            Some(file) => found.push(Found { skeleton, id, file }),
            None => lacking += 1,
        }
    }
    (found, lacking)
}

impl Found {
    /// Reads the sections.
    pub(crate) fn sections(&self) -> Result<SplitSections<'_>, SplitError> {
        let sections = match &self.file {
            SplitFile::Unit(file) => Kind::Unit(Box::new(Sections::load_split(&file.elf)?)),
            SplitFile::Package(file) => {
                let read = |id: gimli::SectionId| match id.dwo_name() {
                    None => Ok(Section::default()),
                    Some(name) => Ok::<_, SplitError>(file.elf.section(name)?.unwrap_or_default()),
                };
                Kind::Package(Box::new(DwarfPackageSections::load(read)?), self.id)
            }
        };
        Ok(SplitSections { skeleton: self.skeleton, sections })
    }
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
            Kind::Unit(sections) => {
                let mut dwarf = sections.dwarf();
                dwarf.make_dwo(parent);
                Some(dwarf)
            }
            Kind::Package(sections, id) => sections
                .borrow(borrow, Slice::new(&[], LittleEndian))
                .and_then(|package| package.find_cu(*id, parent))
                .inspect_err(|e| log::warn!("a DWARF package is left out: {e}"))
                .ok()?,
        }
    }
}
