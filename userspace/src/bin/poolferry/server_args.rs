//! Options that name a server and the places of its symbols.

use std::path::PathBuf;

use userspace::agent::Choice;
use userspace::target::{Target, TargetError};

/// Which server.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// Process id of the server.
    #[arg(long, conflicts_with = "name")]
    pid: Option<u32>,
    /// Program name of the server [default: mysqld, mariadbd or mysqld-debug].
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    pub(crate) symbols: SymbolArgs,
}

impl ServerArgs {
    /// The same for one who waits for the server.
    pub(crate) fn choice(&self) -> Choice {
        Choice { pid: self.pid, name: self.name.clone(), symbols: self.symbols.options() }
    }

    pub(crate) fn choose(&self) -> Result<Target, TargetError> {
        Target::choose(self.pid, self.name.as_deref())
    }
}

/// Where symbols are looked for.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct SymbolArgs {
    /// Folder of stored profiles (`BUILD-ID.json`), looked at before the built-in ones.
    #[arg(long, value_name = "DIR")]
    profiles: Vec<PathBuf>,
    /// Folder of debug files, besides /usr/lib/debug.
    #[arg(long, value_name = "DIR")]
    debug_dir: Vec<PathBuf>,
    /// Neither use nor write the cache of profiles.
    #[arg(long)]
    no_cache: bool,
}

impl SymbolArgs {
    pub(crate) fn options(&self) -> symbols::Options {
        let mut options = symbols::Options::default();
        options.profile_dirs.clone_from(&self.profiles);
        options.debug_files.debug_dirs.extend(self.debug_dir.iter().cloned());
        if self.no_cache {
            options.cache_dir = None;
        }
        options
    }
}
