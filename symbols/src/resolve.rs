//! From a program file to its profile: stored profile, cache, own DWARF, debug file.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use crate::budget::Budget;
use crate::cache::{Cache, CacheKey};
use crate::debug_file::Attempt;
use crate::debug_file::files::{FileProvider, LocalFiles};
use crate::elf::snapshot::opened;
use crate::elf::{ElfError, FileSnapshot, Owner, Program};
use crate::error::Error;
use crate::isolated::ReadJob;
use crate::options::Options;
use crate::profile::Profile;
use crate::read::{Clock, ReadStep, known, read};
use crate::stored;
use crate::trust::Trust;

/// Which program.
#[derive(Clone, Copy, Debug)]
pub struct ProgramPaths<'a> {
    /// A path that opens the program, e.g. `/proc/PID/exe`.
    pub program: &'a Path,
    /// The root folder that the program runs in, e.g. `/proc/PID/root`.
    pub root: &'a Path,
}

/// A profile, and how it was come by.
#[derive(Debug)]
pub struct Resolved {
    /// The answer.
    pub profile: Profile,
    /// Cached or computed.
    pub origin: Origin,
    /// The steps taken, in order.
    pub steps: Vec<ReadStep>,
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

/// Resolves a program.
///
/// What could not be found of a known server is no error but stands in [`Profile::missing`].
///
/// # Errors
/// The file is no server of a known version, or there is neither debug information for it nor a
/// stored profile, or a stored profile that does not fit; or one of [`Options::ends`] was there first.
pub fn resolve(target: &ProgramPaths<'_>, options: &Options) -> Result<Resolved, Error> {
    match look(target, options) {
        // Whatever the last error was: the file is gone, the other process was stopped.
        Err(_) if options.ends.reached() => Err(Error::Ended { path: target.program.to_owned() }),
        other => other,
    }
}

fn look(target: &ProgramPaths<'_>, options: &Options) -> Result<Resolved, Error> {
    let ends = &options.ends;
    let mut clock = Clock::start();
    let shared = || Budget::shared(options.share);
    let budget = options.budget_bytes.map_or_else(shared, Budget::new);
    let failed = |error| Error::Elf(ElfError::read(target.program, error));
    let found = foreign_file::program(target.program).map_err(|refusal| failed(refusal.into()))?;
    let found = OwnedFd::from(found);
    let (open, stat) = opened(&found).map_err(failed)?;
    let (mut tried, search, owner) = (Vec::new(), &options.debug_files, Owner::of(&stat));
    let files =
        LocalFiles::open(target.program, target.root, &search.debuginfod, &budget, &mut tried)
            .with_profiles(&options.profile_dirs)
            .trusting(Trust::new(search.users.as_deref(), Some(owner)))
            .until(ends);
    let files = Rc::new(files);
    let (path, limit) = (target.program, budget.limit());
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let job = ReadJob { path, files: &files, options, limit };
    let isolation = options.isolation.as_ref();
    let mut isolated = isolation.map(|of| of.open(job, open.as_fd(), size)).transpose()?;
    // Of a build whose profile is stored, little has to be read: a machine may have no room for all of it.
    let known = match &mut isolated {
        None => known(path, open.into(), files.as_ref(), ends)?,
        Some(isolated) => isolated.known()?,
    };
    clock.step("stored profiles");
    if let Some(profile) = known {
        return Ok(Resolved { profile, origin: Origin::Computed, steps: clock.steps, tried });
    }
    let program = FileSnapshot::of(&found, &budget, &|| ends.reached()).map_err(failed)?;
    clock.step("read");
    // This process may have all rights, so it does not even look at the headers of what is foreign.
    let (cache, key) = (Cache::new(options.cache_dir.as_deref()), CacheKey::of(&program));
    // What ships with this program, or what the operator stored, beats what was found on the way.
    let cached = cache.load(&key, &files);
    let cached = cached.filter(|profile| !stored::exists(&profile.binary, files.as_ref()));
    clock.step("cache");
    if let Some(profile) = cached {
        let (steps, tried) = (clock.steps, Vec::new());
        return Ok(Resolved { profile, origin: Origin::Cached, steps, tried });
    }
    let read = match isolated {
        None => {
            let program = Program::of(target.program, program, &budget)?;
            read(&program, Rc::clone(&files) as Rc<dyn FileProvider>, search)?
        }
        Some(isolated) => {
            let read = isolated.read(&program)?;
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
