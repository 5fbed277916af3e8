//! Where to look for what a program does not have itself, and how much that may take.

use std::env;
use std::path::PathBuf;

use crate::budget::BudgetShare;
use crate::debug_file::SearchOptions;
use crate::ends::Ends;
use crate::isolated::Isolation;

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
    /// process have together, see [`Budget::shared`](crate::Budget::shared).
    pub budget_bytes: Option<u64>,
    /// How much of that a look may take up where there is no budget of its own.
    pub share: BudgetShare,
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
            share: BudgetShare::Whole,
            ends: Ends::default(),
        }
    }
}
