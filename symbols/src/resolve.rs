//! From a program file to its profile: stored profile, cache, own DWARF, debug file.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::env;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::budget::{Budget, Share};
use crate::cache::{Cache, Key};
use crate::debug_file::files::{Files, LocalFiles};
use crate::debug_file::{self, Attempt, DebugFiles, SearchOptions};
use crate::dwarf::{
    self, DebugInfo, Frames, Functions, Index, Sections, TooManyUnits, Types, Wanted,
};
use crate::elf::{ElfError, Program, Snapshot};
use crate::ends::Ends;
use crate::error::Error;
use crate::extract::{self, Facts};
use crate::isolated::{Asked, Isolation};
use crate::profile::{BinaryId, Profile, ServerId, Source};
use crate::reason::Reason;
use crate::server::{self, Definition};
use crate::stored;
use crate::trust::Trust;

/// Which program.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// A path that opens the program, e.g. `/proc/PID/exe`.
    pub program: &'a Path,
    /// The root folder that the program runs in, e.g. `/proc/PID/root`.
    pub root: &'a Path,
}

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Folder of computed profiles; none: nothing is kept or looked up.
    pub cache_dir: Option<PathBuf>,
    /// Folders of stored profiles, `BUILD-ID.json` or `blake3-HASH.json`, looked at before the embedded
    /// ones.
    pub profile_dirs: Vec<PathBuf>,
    /// Where debug files may be.
    pub debug_files: SearchOptions,
    /// The program that reads foreign files for us, in a process without rights; none: this process
    /// reads them itself.
    pub isolation: Option<Isolation>,
    /// What copies of files and decompressed sections may take together, in bytes; none: what all looks of this
    /// process have together, a quarter of the memory that the machine has to spare, at most 4 GiB.
    pub budget_bytes: Option<u64>,
    /// How much of that a look may take up where there is no budget of its own.
    pub share: Share,
    /// What ends the wait early. Without isolation they are looked at only while files are read.
    pub ends: Ends,
}

/// The user's cache (`XDG_CACHE_HOME`, else `~/.cache`), and debug files as the environment has it.
impl Default for Options {
    fn default() -> Self {
        let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
        Self {
            cache_dir: cache.map(|dir| dir.join("poolferry/profiles")),
            profile_dirs: Vec::new(),
            debug_files: SearchOptions::from_env(),
            isolation: None,
            budget_bytes: None,
            share: Share::Whole,
            ends: Ends::default(),
        }
    }
}

/// A profile, and how it was come by.
#[derive(Debug)]
pub struct Resolved {
    /// The answer.
    pub profile: Profile,
    /// Cached or computed.
    pub origin: Origin,
    /// The steps taken, in order.
    pub steps: Vec<Step>,
    /// Places where debug files were looked for; empty for a cached profile.
    pub tried: Vec<Attempt>,
}

/// Whether a profile was computed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Computed, or taken from a stored profile.
    Computed,
    /// Computed at an earlier time.
    Cached,
}

/// One step, and its wall-clock time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What was done.
    pub name: Cow<'static, str>,
    /// How long it took.
    pub took: Duration,
}

/// What was found by reading files.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Read {
    pub(crate) profile: Profile,
    pub(crate) steps: Vec<Step>,
    pub(crate) tried: Vec<Attempt>,
}

/// Resolves a program.
///
/// What could not be found of a known server is no error but stands in [`Profile::missing`].
///
/// # Errors
/// The file is no server of a known version, or there is neither debug information for it nor a
/// stored profile, or a stored profile that does not fit; or one of [`Options::ends`] was there first.
pub fn resolve(target: &Target<'_>, options: &Options) -> Result<Resolved, Error> {
    match look(target, options) {
        // Whatever was said last: the file is gone, the other process was stopped.
        Err(_) if options.ends.reached() => Err(Error::Ended { path: target.program.to_owned() }),
        other => other,
    }
}

fn look(target: &Target<'_>, options: &Options) -> Result<Resolved, Error> {
    let ends = &options.ends;
    let mut clock = Clock::start();
    let shared = || Budget::shared(options.share);
    let budget = options.budget_bytes.map_or_else(shared, Budget::new);
    let failed = |error| Error::Elf(ElfError::read(target.program, error));
    let program = Snapshot::read_until(target.program, &budget, &|| ends.reached());
    let program = program.map_err(failed)?;
    clock.step("read");
    let (mut tried, search, owner) = (Vec::new(), &options.debug_files, program.owner());
    let files =
        LocalFiles::open(target.program, target.root, &search.debuginfod, &budget, &mut tried)
            .with_profiles(&options.profile_dirs)
            .trusting(Trust::new(search.users.as_deref(), Some(owner)))
            .until(ends);
    let files = Rc::new(files);
    // This process may have all rights, so it does not even look at the headers of what is foreign.
    let (cache, key) = (Cache::new(options.cache_dir.as_deref()), Key::of(&program));
    // What ships with this program, or what the operator stored, beats what was found on the way.
    let cached = cache.load(&key, &files);
    let cached = cached.filter(|profile| !stored::exists(&profile.binary, files.as_ref()));
    clock.step("cache");
    if let Some(profile) = cached {
        let (steps, tried) = (clock.steps, Vec::new());
        return Ok(Resolved { profile, origin: Origin::Cached, steps, tried });
    }
    let read = match &options.isolation {
        None => {
            let program = Program::of(target.program, program, &budget)?;
            read(&program, Rc::clone(&files) as Rc<dyn Files>, search)?
        }
        Some(isolation) => {
            let asked = Asked { path: target.program, program, budget, files: &files, options };
            let read = isolation.read(&asked)?;
            clock.step("in another process");
            read
        }
    };
    let profile = read.profile;
    // An incomplete one may have more to it once a debug file is installed.
    if profile.is_complete() {
        cache.store(&key, &profile, &owner, &files);
        clock.step("keep");
    }
    tried.extend(read.tried);
    clock.steps.extend(read.steps);
    Ok(Resolved { profile, origin: Origin::Computed, steps: clock.steps, tried })
}

/// Reads a program and the files that belong to it: everything here is foreign.
pub(crate) fn read(
    program: &Program,
    files: Rc<dyn Files>,
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
    let Some(profile) = profile else {
        let path = program.path().to_owned();
        return Err(Error::no_debug_info(path, binary.key(), poor, found));
    };
    Ok(Read { profile, steps: clock.steps, tried: found.tried })
}

/// What the debug information of a program gives.
enum Described {
    /// There is none.
    Nothing,
    /// There is some, but it describes no types.
    Poor(Reason),
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
    // Split files are found by what the units say, and then hold units themselves.
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
            () if info.is_broken() => Reason::Unreadable,
            () if lacking > 0 || info.has_skeletons() => Reason::SplitUnitsMissing,
            () => Reason::LinesOnly,
        }));
    }
    let mut symbols = program.symbols(extract::symbol_names(definition))?;
    if !std::ptr::eq(holder, program) {
        symbols.merge(holder.symbols(extract::symbol_names(definition))?);
    }
    let frames = Frames::new(program);
    let facts = Facts {
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

/// Walks the chosen units; all units when the sources have other names than the definition says.
fn index(info: &DebugInfo<'_>, chosen: &[dwarf::UnitId], wanted: &Wanted) -> Index {
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

struct Clock {
    last: Instant,
    steps: Vec<Step>,
}

impl Clock {
    fn start() -> Self {
        Self { last: Instant::now(), steps: Vec::new() }
    }

    fn step(&mut self, name: &'static str) {
        let now = Instant::now();
        self.steps.push(Step { name: Cow::Borrowed(name), took: now - self.last });
        self.last = now;
    }
}
