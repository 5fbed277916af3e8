//! From a program's bytes, and the debug files that belong to it, to its profile. Everything that is read here is foreign.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fs::File;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::debug_file::files::FileProvider;
use crate::debug_file::{self, Attempt, DebugFiles, SearchOptions};
use crate::dwarf::{
    self, DebugInfo, Functions, Index, Sections, TooManyUnits, Types, UnwindTable, WantedNames,
};
use crate::elf::Program;
use crate::ends::Ends;
use crate::error::Error;
use crate::extract::{self, DebugFacts};
use crate::profile::{BinaryId, Profile, ServerId, Source};
use crate::reason::UnresolvedReason;
use crate::server::{self, Definition};
use crate::stored;
use crate::text::ProgramText;

/// One step, and its wall-clock time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadStep {
    /// What was done.
    pub name: Cow<'static, str>,
    /// How long it took.
    pub took: Duration,
}

/// What was found by reading files.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Read {
    pub(crate) profile: Profile,
    pub(crate) steps: Vec<ReadStep>,
    pub(crate) tried: Vec<Attempt>,
}

/// The stored profile of an open program, true of it; none where none is stored, or where that can only be said once all
/// of the program is read.
pub(crate) fn known(
    path: &Path,
    file: File,
    files: &dyn FileProvider,
    ends: &Ends,
) -> Result<Option<Profile>, Error> {
    match ProgramText::of(file) {
        Ok(text) => stored::find_in(path, &text.until(ends.clone()), files),
        Err(error) => {
            log::debug!("`{}` is to be read whole: {error}", foreign::path(path));
            Ok(None)
        }
    }
}

/// Reads a program and the files that belong to it: everything here is foreign.
pub(crate) fn read(
    program: &Program,
    files: Rc<dyn FileProvider>,
    options: &SearchOptions,
) -> Result<Read, Error> {
    let mut clock = Clock::start();
    let binary = BinaryId::of(program);
    let stored = stored::find(program, &binary, files.as_ref())?;
    clock.step("stored profiles");
    if let Some(profile) = stored.as_ref().filter(|profile| profile.is_complete()) {
        return Ok(Read { profile: profile.clone(), steps: clock.steps, tried: Vec::new() });
    }
    let (definition, server) = server::recognise(program)?;
    clock.step("recognise");
    let mut found = debug_file::find_in(program, Rc::clone(&files), options, false);
    clock.step("find debug files");
    let mut described = describe(program, &definition, &server, &binary, &mut found)?;
    if let (Described::Poor(_), None) = (&described, &found.debug) {
        // The whole of it may lie in a file of its own, beside the little in the program.
        let mut beside = debug_file::find_in(program, Rc::clone(&files), options, true);
        if beside.debug.is_some() {
            described = describe(program, &definition, &server, &binary, &mut beside)?;
        }
        found.tried.append(&mut beside.tried);
    }
    clock.step("read debug information");
    let (described, poor) = match described {
        Described::Profile(profile) => (Some(*profile), None),
        Described::Poor(reason) => (None, Some(reason)),
        Described::Nothing => (None, None),
    };
    let profile = if described.as_ref().is_some_and(Profile::is_complete) {
        described
    } else {
        stored.or(described)
    };
    let profile = match profile {
        Some(profile) => profile,
        None => match stored::kin(program, &binary, &server, files.as_ref()) {
            Ok(profile) => profile,
            Err(refused) => {
                let path = program.path().to_owned();
                return Err(Error::no_debug_info(path, binary.key(), poor, found, refused));
            }
        },
    };
    clock.step("compare with known builds");
    Ok(Read { profile, steps: clock.steps, tried: found.tried })
}

/// The profile by the program's own debug information, whatever is stored for its build.
pub(crate) fn by_own_debug_info(program: &Program) -> Result<Profile, Error> {
    let binary = BinaryId::of(program);
    let (definition, server) = server::recognise(program)?;
    let mut found = debug_file::find(program, Path::new("/"), &SearchOptions::default());
    let poor = match describe(program, &definition, &server, &binary, &mut found)? {
        Described::Profile(profile) => return Ok(*profile),
        Described::Poor(reason) => Some(reason),
        Described::Nothing => None,
    };
    let path = program.path().to_owned();
    Err(Error::no_debug_info(path, binary.key(), poor, found, Vec::new()))
}

/// What the debug information of a program gives.
enum Described {
    /// There is none.
    Nothing,
    /// There is some, but it describes no types.
    Poor(UnresolvedReason),
    Profile(Box<Profile>),
}

fn describe(
    program: &Program,
    definition: &Definition,
    server: &ServerId,
    binary: &BinaryId,
    files: &mut DebugFiles,
) -> Result<Described, Error> {
    let (holder, source) = match &files.debug {
        Some(debug) => (&debug.elf, Source::DebugFile { path: debug.place.to_string() }),
        None => (program, Source::OwnDwarf),
    };
    let sections = Sections::load(holder)?;
    if !sections.has_units() {
        return Ok(Described::Nothing);
    }
    let too_many = |TooManyUnits| Error::TooManyUnits {
        path: program.path().to_owned(),
        limit: dwarf::MAX_UNITS,
    };
    let alternate = files.alt.as_ref().map(|alt| Sections::load(&alt.elf)).transpose()?;
    // Split files are found by the units' attributes, and then hold units themselves.
    let (split_files, split_sections) = (OnceCell::new(), OnceCell::new());
    let mut info = DebugInfo::new(&sections, alternate.as_ref()).map_err(too_many)?;
    let wanted = extract::wanted(definition);
    let mut units = dwarf::choose(&info, &definition.sources);
    let (found, lacking) = dwarf::split::find(&info, &units, &files.dwo, &mut files.tried);
    for split in split_sections.get_or_init(|| {
        let found: &Vec<_> = split_files.get_or_init(|| found);
        let readable = |e: &_| log::warn!("a split unit is left out: {e}");
        found
            .iter()
            .filter_map(|file| file.sections().inspect_err(readable).ok())
            .collect::<Vec<_>>()
    }) {
        units.extend(info.add_split(split).map_err(too_many)?);
    }
    let index = index(&info, &units, &wanted);
    info.warn_of_broken_units();
    if index.type_entries == 0 {
        return Ok(Described::Poor(match () {
            () if info.is_broken() => UnresolvedReason::Unreadable,
            () if lacking > 0 || info.has_skeletons() => UnresolvedReason::SplitUnitsMissing,
            () => UnresolvedReason::LinesOnly,
        }));
    }
    let mut symbols = program.symbols(extract::symbol_names(definition))?;
    if !std::ptr::eq(holder, program) {
        symbols.merge(holder.symbols(extract::symbol_names(definition))?);
    }
    let frames = UnwindTable::new(program);
    let facts = DebugFacts {
        program,
        definition,
        types: Types { info: &info, index: &index },
        functions: Functions { info: &info, index: &index, frames: &frames },
        index: &index,
        symbols: &symbols,
    };
    let profile = extract::profile(&facts, server.clone(), binary.clone(), source);
    Ok(Described::Profile(Box::new(profile)))
}

/// Walks the chosen units; all units when the sources have other names than in the definition.
fn index(info: &DebugInfo<'_>, chosen: &[dwarf::UnitId], wanted: &WantedNames) -> Index {
    let mut index = Index::default();
    for unit in chosen {
        index.walk(info, *unit, wanted);
    }
    if !wanted.types.iter().all(|name| index.types.contains_key(name)) {
        log::warn!("the units of the usual sources do not define all types; reading all units");
        for unit in info.units() {
            index.walk(info, unit, wanted);
        }
    }
    index.link();
    index
}

pub(crate) struct Clock {
    last: Instant,
    pub(crate) steps: Vec<ReadStep>,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { last: Instant::now(), steps: Vec::new() }
    }

    pub(crate) fn step(&mut self, name: &'static str) {
        let now = Instant::now();
        self.steps.push(ReadStep { name: Cow::Borrowed(name), took: now - self.last });
        self.last = now;
    }
}
