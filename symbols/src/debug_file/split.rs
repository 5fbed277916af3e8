//! The `.dwo` or `.dwp` of a unit of split DWARF.
//!
//! A split unit has no build id; it is believed when it holds a unit with the id that the skeleton
//! unit in the program names (DWARF 5, 7.3.2; before that GNU's `DW_AT_GNU_dwo_id`). The id is the
//! compiler's hash over the unit's entries: a build that differs in code only has the same.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use gimli::{DwoId, LittleEndian, UnitType};

use super::attempt::{Attempt, DebugFileRefusal, SearchPlace, WantedFile};
use super::debug_elf::DebugElf;
use super::places::SearchPaths;
use super::{candidates, link};
use crate::elf::Program;

/// What a skeleton unit records of its split unit.
#[derive(Clone, Copy, Debug)]
pub struct SplitUnit<'a> {
    /// The id in the unit's header, or `DW_AT_GNU_dwo_id`.
    pub id: DwoId,
    /// `DW_AT_dwo_name` or `DW_AT_GNU_dwo_name`.
    pub name: &'a [u8],
    /// `DW_AT_comp_dir`; empty where there is none.
    pub comp_dir: &'a [u8],
}

/// A file that holds a split unit; its sections are the ones with `.dwo` in their names.
#[derive(Clone, Debug)]
pub enum SplitFile {
    /// A `.dwo`: the sections are those of the unit.
    Unit(Arc<DebugElf>),
    /// A `.dwp`: the sections are shared, `.debug_cu_index` lists the parts of the unit.
    Package(Arc<DebugElf>),
}

/// Finds and opens split units.
#[derive(Debug)]
pub struct DwoLoader {
    places: SearchPaths,
    /// Where the file with the skeleton units lies, when it is not the program.
    holder: Option<PathBuf>,
    id: Option<link::BuildId>,
    packages: OnceLock<Vec<Arc<DebugElf>>>,
}

impl DwoLoader {
    pub(super) fn new(places: SearchPaths, program: &Program, holder: Option<PathBuf>) -> Self {
        let id = link::BuildId::of(program);
        Self { places, holder, id, packages: OnceLock::new() }
    }

    /// Opens the file that holds `unit`: a package, else its own. Every look is added to `tried`.
    ///
    /// A `.dwo` is opened anew at each call; a package once.
    pub fn load(&self, unit: &SplitUnit<'_>, tried: &mut Vec<Attempt>) -> Option<SplitFile> {
        let packages = self.packages.get_or_init(|| self.open_packages(tried));
        for package in packages {
            let outcome = check_package(&package.elf, unit.id);
            let believed = outcome.is_ok();
            let place = package.place.clone();
            tried.push(Attempt { wanted: WantedFile::SplitUnit, place, outcome });
            if believed {
                return Some(SplitFile::Package(Arc::clone(package)));
            }
        }
        let (name, comp_dir) = (link::path(unit.name), link::path(unit.comp_dir));
        let found = self.places.look(
            WantedFile::SplitUnit,
            |root, dirs| candidates::split_unit(&name, &comp_dir, root.program_dir(), dirs),
            |elf| check_unit(elf, unit.id),
            tried,
        )?;
        Some(SplitFile::Unit(Arc::new(found)))
    }

    /// All packages that are there; which of them holds a unit is seen when it is wanted.
    fn open_packages(&self, tried: &mut Vec<Attempt>) -> Vec<Arc<DebugElf>> {
        let mut found: Vec<Arc<DebugElf>> = Vec::new();
        for (number, root) in self.places.files().roots().iter().enumerate() {
            let holder = self.holder.as_deref();
            let dirs = self.places.debug_dirs();
            for path in candidates::package(self.id.as_ref(), &root.program, holder, dirs) {
                let place = SearchPlace::File(root.show(&path));
                match self.places.open(number, &path) {
                    // The observer may see the target's folders in its own root too.
                    Ok((elf, _)) if found.iter().any(|f| f.elf.file_id() == elf.file_id()) => {}
                    Ok((elf, _)) => found.push(Arc::new(DebugElf::new(place, elf))),
                    Err(refusal) => {
                        let outcome = Err(refusal);
                        tried.push(Attempt { wanted: WantedFile::SplitUnit, place, outcome });
                    }
                }
            }
        }
        found
    }
}

/// Refuses a `.dwp` whose index does not have the unit.
fn check_package(elf: &Program, wanted: DwoId) -> Result<(), DebugFileRefusal> {
    let index =
        elf.section(".debug_cu_index").map_err(DebugFileRefusal::from_elf)?.unwrap_or_default();
    let index =
        gimli::DebugCuIndex::new(&index, LittleEndian).index().map_err(DebugFileRefusal::dwarf)?;
    match index.find(wanted.0) {
        Some(_) => Ok(()),
        None => Err(DebugFileRefusal::NoSuchUnit { wanted: wanted.0 }),
    }
}

/// Refuses a `.dwo` that does not hold the unit.
fn check_unit(elf: &Program, wanted: DwoId) -> Result<(), DebugFileRefusal> {
    let section = |name| elf.section(name).map(Option::unwrap_or_default);
    let info = section(".debug_info.dwo").map_err(DebugFileRefusal::from_elf)?;
    let abbrev = section(".debug_abbrev.dwo").map_err(DebugFileRefusal::from_elf)?;
    let info = gimli::DebugInfo::new(&info, LittleEndian);
    let abbrev = gimli::DebugAbbrev::new(&abbrev, LittleEndian);
    let mut headers = info.units();
    while let Some(header) = headers.next().map_err(DebugFileRefusal::dwarf)? {
        let id = match header.type_() {
            UnitType::SplitCompilation(id) => Some(id),
            UnitType::Compilation => {
                gnu_dwo_id(&header, &abbrev).map_err(DebugFileRefusal::dwarf)?
            }
            _ => None, // type units come before the unit
        };
        if id == Some(wanted) {
            return Ok(());
        }
    }
    Err(DebugFileRefusal::NoSuchUnit { wanted: wanted.0 })
}

/// The id of a split unit before DWARF 5, from its root entry.
fn gnu_dwo_id<R: gimli::Reader>(
    header: &gimli::UnitHeader<R>,
    abbrev: &gimli::DebugAbbrev<R>,
) -> gimli::Result<Option<DwoId>> {
    let abbreviations = header.abbreviations(abbrev)?;
    let mut tree = header.entries_tree(&abbreviations, None)?;
    let root = tree.root()?;
    Ok(match root.entry().attr_value(gimli::DW_AT_GNU_dwo_id) {
        Some(gimli::AttributeValue::DwoId(id)) => Some(id),
        _ => None,
    })
}
