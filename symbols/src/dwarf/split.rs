//! Split DWARF: the `.dwo` or `.dwp` parts of skeleton units.

use gimli::{DwarfPackageSections, DwoId};

use super::info::UnitId;
use super::split_sections::{SectionKind, SplitSections};
use super::{DebugInfo, Sections};
use crate::debug_file::{Attempt, DwoLoader, SplitFile, SplitUnit};
use crate::elf::{ElfError, Section};

/// A split file that was found, and whose it is.
#[derive(Debug)]
pub(crate) struct FoundSplit {
    skeleton: UnitId,
    id: DwoId,
    file: SplitFile,
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
) -> (Vec<FoundSplit>, usize) {
    let (mut found, mut lacking) = (Vec::new(), 0);
    for &skeleton in units {
        let Some(unit) = info.unit(skeleton) else { continue };
        let (Some(id), Some(name)) = (unit.dwo_id, info.split_name(skeleton)) else { continue };
        let comp_dir = unit.comp_dir.map_or(&[][..], |dir| dir.slice());
        match loader.load(&SplitUnit { id, name: &name, comp_dir }, tried) {
            Some(file) => found.push(FoundSplit { skeleton, id, file }),
            None => lacking += 1,
        }
    }
    (found, lacking)
}

impl FoundSplit {
    /// Reads the sections.
    pub(crate) fn sections(&self) -> Result<SplitSections<'_>, SplitError> {
        let sections = match &self.file {
            SplitFile::Unit(file) => SectionKind::Unit(Box::new(Sections::load_split(&file.elf)?)),
            SplitFile::Package(file) => {
                let read = |id: gimli::SectionId| match id.dwo_name() {
                    None => Ok(Section::default()),
                    Some(name) => Ok::<_, SplitError>(file.elf.section(name)?.unwrap_or_default()),
                };
                SectionKind::Package(Box::new(DwarfPackageSections::load(read)?), self.id)
            }
        };
        Ok(SplitSections { skeleton: self.skeleton, sections })
    }
}
