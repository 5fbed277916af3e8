//! Where the separate debug information of a program lies, and how it is opened.
//!
//! A program names its debug file by build id or by `.gnu_debuglink`; a debug file that dwz has
//! shrunk names an alternate by `.gnu_debugaltlink`; a skeleton unit names its split unit. Each is
//! looked for below the target's root, then below the observer's, then at the debuginfod servers
//! that the options name (split units are not served there).
//!
//! ```text
//! sections -> link -> candidates (pure) -> places (open in a root) -> identity -> DebugFiles
//!                                          debuginfod (fetch) ---------^
//! ```
//!
//! # Invariants
//! - A file is trusted only when it can be written only by root, the server's user and the user that
//!   looks, whichever root it lies in.
//! - A file is believed only when its build id is the wanted one, or its CRC-32 where the program
//!   has no build id, or its unit's id for split DWARF. Never by its name.
//! - What was refused stays in [`DebugFiles::tried`], with the reason.
//! - No request goes to a server unless the options name it.

mod attempt;
mod candidates;
mod debug_elf;
mod debuginfod;
pub(crate) mod files;
pub(crate) mod found;
mod identity;
pub(crate) mod link;
mod options;
mod places;
mod root;
mod search;
mod split;

use std::path::Path;
use std::rc::Rc;

pub use crate::trust::Distrust;
pub use attempt::{Attempt, DebugFileRefusal, SearchPlace, WantedFile};
pub use debug_elf::DebugElf;
pub use debuginfod::FetchError;
pub use options::{Debuginfod, SearchOptions};
pub use split::{DwoLoader, SplitFile, SplitUnit};

use crate::elf::Program;
use crate::reason::UnresolvedReason;
use crate::trust::Trust;
use files::{FileProvider, LocalFiles};
use search::DebugSearch;

/// The separate debug information of one program.
#[derive(Debug)]
pub struct DebugFiles {
    /// The separate debug file; none when the program has DWARF of its own, or none was found.
    pub debug: Option<DebugElf>,
    /// The dwz alternate of `debug`, or of the program itself.
    pub alt: Option<DebugElf>,
    /// Opens split units.
    pub dwo: DwoLoader,
    /// Every place that was looked at, in order.
    pub tried: Vec<Attempt>,
}

/// Finds the separate debug information of `program`, which runs with `root` as its root folder
/// (`/proc/PID/root`, or `/`).
///
/// That nothing is found is no error: [`DebugFiles::reason`] and [`DebugFiles::hint`] explain it and
/// what to do.
#[must_use]
pub fn find(program: &Program, root: &Path, options: &SearchOptions) -> DebugFiles {
    let mut tried = Vec::new();
    let (servers, trust) =
        (&options.debuginfod, Trust::new(options.users.as_deref(), program.owner()));
    let files = LocalFiles::open(program.path(), root, servers, program.budget(), &mut tried);
    let files = files.trusting(trust);
    let mut found = find_in(program, Rc::new(files), options, false);
    found.tried.splice(0..0, tried);
    found
}

/// As [`find`], among `files`; `beside` looks for a debug file though the program has DWARF of its own.
pub(crate) fn find_in(
    program: &Program,
    files: Rc<dyn FileProvider>,
    options: &SearchOptions,
    beside: bool,
) -> DebugFiles {
    let mut search = DebugSearch::new(program, files, options);
    let own = !beside && matches!(identity::has_dwarf(program), Ok(true));
    let debug = if own { None } else { search.debug_file(program) };
    let alt = match &debug {
        Some(debug) => search.alternate(&debug.elf, &debug.dirs()),
        None => search.alternate(program, &[]),
    };
    let holder = debug.as_ref().and_then(|debug| debug.path.clone());
    let (places, tried) = search.into_parts();
    DebugFiles { debug, alt, dwo: DwoLoader::new(places, program, holder), tried }
}

impl DebugFiles {
    /// Why there is no debug file: one of another build was found, or none at all.
    #[must_use]
    pub fn reason(&self) -> UnresolvedReason {
        let crc = |crc| format!("crc32-{crc:08x}");
        let mismatch = self.refusals().find_map(|refusal| match refusal {
            DebugFileRefusal::OtherBuild(reason) => Some(reason.clone()),
            DebugFileRefusal::OtherCrc { wanted, found } => {
                Some(UnresolvedReason::BuildIdMismatch { binary: crc(wanted), debug: crc(found) })
            }
            _ => None,
        });
        mismatch.unwrap_or(UnresolvedReason::Stripped)
    }

    /// What the operator can do to have the debug information found: the remedy for the first file
    /// that was there and refused, else the packages and variables that bring one.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        self.refusals().find_map(DebugFileRefusal::hint).unwrap_or(
            "install the server's debug symbols (Debian: the `-dbgsym` package; MySQL's \
             repositories: `-dbgsym` or `-debuginfo`), set DEBUGINFOD_URLS to a server that has \
             them, or name a folder with its debug files (--debug-dir) or with a stored profile of \
             it (--profiles)",
        )
    }

    fn refusals(&self) -> impl Iterator<Item = &DebugFileRefusal> {
        self.tried.iter().filter_map(|attempt| attempt.outcome.as_ref().err())
    }
}
