//! From a program file to its profile: cache, own DWARF, debug file, stored profile.

use std::cell::OnceCell;
use std::env;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cache::Cache;
use crate::debug_file::{self, Attempt, DebugFiles, SearchOptions};
use crate::dwarf::{self, DebugInfo, Frames, Functions, Index, Sections, Types, Wanted};
use crate::elf::Program;
use crate::error::Error;
use crate::extract::{self, Facts};
use crate::profile::{BinaryId, Profile, ServerId, Source};
use crate::server::{self, Definition};
use crate::stored;

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
    /// Folders of stored profiles, `BUILD-ID.json`, looked at before the embedded ones.
    pub profile_dirs: Vec<PathBuf>,
    /// Where debug files may be.
    pub debug_files: SearchOptions,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was done.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
}

/// Resolves a program.
///
/// What could not be found of a known server is no error but stands in [`Profile::missing`].
///
/// # Errors
/// The file is no server of a known version, or there is neither debug information for it nor a
/// stored profile, or a stored profile that does not fit.
pub fn resolve(target: &Target<'_>, options: &Options) -> Result<Resolved, Error> {
    let mut clock = Clock::start();
    let program = Program::open(target.program)?;
    clock.step("open");
    let cache = Cache::new(options.cache_dir.as_deref());
    let binary = cache.identify(&program);
    clock.step("identify");
    if let Some(profile) = cache.load(&program, &binary) {
        clock.step("cache");
        let (steps, tried) = (clock.steps, Vec::new());
        return Ok(Resolved { profile, origin: Origin::Cached, steps, tried });
    }
    clock.step("cache");
    let (definition, server) = server::recognise(&program)?;
    clock.step("recognise");
    let mut files = debug_file::find(&program, target.root, &options.debug_files);
    clock.step("find debug files");
    let described = describe(&program, &definition, server, &binary, &mut files)?;
    clock.step("read debug information");
    let complete = described.as_ref().is_some_and(Profile::is_complete);
    let profile = if complete {
        described
    } else {
        stored::find(&program, &binary, &options.profile_dirs)?.or(described)
    };
    clock.step("stored profiles");
    let Some(profile) = profile else {
        return Err(Error::no_debug_info(target.program.to_owned(), binary.key(), files));
    };
    // An incomplete one may have more to it once a debug file is installed.
    if profile.is_complete() {
        cache.store(&program, &profile);
        clock.step("keep");
    }
    Ok(Resolved { profile, origin: Origin::Computed, steps: clock.steps, tried: files.tried })
}

/// The profile by debug information; none when there is none.
fn describe(
    program: &Program,
    definition: &Definition,
    server: ServerId,
    binary: &BinaryId,
    files: &mut DebugFiles,
) -> Result<Option<Profile>, Error> {
    let (holder, source) = match &files.debug {
        Some(debug) => (&debug.elf, Source::DebugFile { path: debug.place.to_string() }),
        None => (program, Source::OwnDwarf),
    };
    let sections = Sections::load(holder)?;
    if !sections.has_units() {
        return Ok(None);
    }
    let alternate = files.alt.as_ref().map(|alt| Sections::load(&alt.elf)).transpose()?;
    // Split files are found by what the units say, and then hold units themselves.
    let (split_files, split_sections) = (OnceCell::new(), OnceCell::new());
    let mut info = DebugInfo::new(&sections, alternate.as_ref());
    let wanted = extract::wanted(definition);
    let mut units = dwarf::choose(&info, &definition.sources);
    let found = dwarf::split::find(&info, &units, &files.dwo, &mut files.tried);
    for split in split_sections.get_or_init(|| {
        let found: &Vec<_> = split_files.get_or_init(|| found);
        let readable = |e: &_| log::warn!("a split unit is left out: {e}");
        found
            .iter()
            .filter_map(|file| file.sections().inspect_err(readable).ok())
            .collect::<Vec<_>>()
    }) {
        units.extend(info.add_split(split));
    }
    let index = index(&info, &units, &wanted);
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
    Ok(Some(extract::profile(&facts, server, binary.clone(), source)))
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
        self.steps.push(Step { name, took: now - self.last });
        self.last = now;
    }
}
