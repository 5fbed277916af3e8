//! A known build: a stripped program, described by one that was made again from its source, with its debug information.

use std::collections::BTreeMap;

use object::{Object as _, ObjectSymbol as _};

use super::identity::{Identity, same_program};
use super::{Fingerprint, KinError};
use crate::addr::LinkAddr;
use crate::dwarf::{self, DebugInfo, Sections};
use crate::elf::Program;
use crate::error::Error;
use crate::profile::{BinaryId, Profile, Source};
use crate::read::by_own_debug_info;
use crate::server::Definition;

/// What is stored of a known build.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its profile, true of the stripped program.
    pub profile: Profile,
    /// Its code; none where the definition names no sources to compare.
    pub fingerprint: Option<Fingerprint>,
    /// By what the rebuilt program is known to be the stripped one.
    pub identity: Identity,
}

/// Describes `stripped` by `rebuilt`, the same program with its debug information.
///
/// # Errors
/// `rebuilt` is no server that can be described by its debug information; the two are not the same code; or one of them cannot
/// be read.
pub fn describe(name: &str, rebuilt: &Program, stripped: &Program) -> Result<Known, Error> {
    let identity = same_program(rebuilt, stripped)?;
    let profile = by_own_debug_info(rebuilt)?;
    let definition = Definition::named(&profile.server.definition);
    let compared = definition.map(|definition| definition.compared).unwrap_or_default();
    let fingerprint = match compared.is_empty() {
        true => None,
        false => Some(fingerprint(&profile, rebuilt, stripped, &compared)?),
    };
    let binary = BinaryId { content_hash: None, ..BinaryId::of(stripped) };
    let source = Source::Stored { name: name.to_owned() };
    let profile = Profile { binary, source, ..profile };
    Ok(Known { profile, fingerprint, identity })
}

fn fingerprint(
    profile: &Profile,
    rebuilt: &Program,
    stripped: &Program,
    sources: &[String],
) -> Result<Fingerprint, KinError> {
    let sections = Sections::load(rebuilt)?;
    let info = DebugInfo::new(&sections, None).map_err(|_| KinError::NoUnits)?;
    let mut ranges = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        let [unit] = *dwarf::choose(&info, std::slice::from_ref(source)).as_slice() else {
            return Err(KinError::NoUnits);
        };
        let Some(unit) = info.unit(unit) else { return Err(KinError::NoUnits) };
        let Ok(mut of_unit) = unit.unit_ranges() else { continue };
        while let Ok(Some(range)) = of_unit.next() {
            // Address 0 marks code that the linker dropped.
            if range.begin != 0 && range.begin < range.end {
                ranges.push((number, range.begin..range.end));
            }
        }
    }
    let source_of = |start: LinkAddr| {
        let of = ranges.iter().find(|(_, range)| range.contains(&start.0));
        of.map(|(number, _)| *number)
    };
    let sites: Vec<LinkAddr> = profile.sites.values().flatten().map(|site| site.probe).collect();
    let elf = rebuilt.elf()?;
    let names: BTreeMap<LinkAddr, String> = elf
        .symbols()
        .filter(|symbol| symbol.kind() == object::SymbolKind::Text && symbol.address() != 0)
        .filter_map(|symbol| Some((LinkAddr(symbol.address()), symbol.name().ok()?.to_owned())))
        .collect();
    Fingerprint::take(stripped, &profile.server.version, sources, &source_of, &sites, &names)
}
