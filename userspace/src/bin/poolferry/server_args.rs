//! Options that name servers and the places of their symbols.

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser as _};
use symbols::isolated::Isolation;
use userspace::choose::{self, ChooseError};
use userspace::server::Server;
use userspace::target::{Account, ServerRule, Target};

/// Which server. Each option may be given more than once: any of its values will do.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// Process id of the server.
    #[arg(long, conflicts_with_all = ["name", "datadir", "user", "unit"])]
    pid: Vec<u32>,
    /// Program name of the server [default: mysqld, mariadbd or mysqld-debug].
    #[arg(long)]
    name: Vec<String>,
    /// Only a server on this data directory.
    #[arg(long, value_name = "DIR")]
    datadir: Vec<PathBuf>,
    /// Only a server of this account, by name or number.
    #[arg(long, value_name = "NAME|UID")]
    user: Vec<Account>,
    /// Only a server of this systemd unit, e.g. `mysql` or `mysqld@replica01.service`.
    #[arg(long, value_name = "NAME")]
    unit: Vec<String>,
    #[command(flatten)]
    pub(crate) symbols: SymbolArgs,
}

impl ServerArgs {
    /// Which processes may be servers that are meant.
    pub(crate) fn rule(&self) -> ServerRule {
        ServerRule {
            pids: self.pid.clone(),
            names: self.name.clone(),
            datadirs: self.datadir.clone(),
            users: self.user.clone(),
            units: self.unit.clone(),
        }
    }

    /// The one of them that proves itself.
    pub(crate) fn server(&self) -> Result<Server, ChooseError> {
        choose::server(&self.rule(), &self.symbols.options())
    }

    /// The only one of them, proven or not, else as [`server`](Self::server).
    pub(crate) fn target(&self) -> Result<Target, ChooseError> {
        choose::target(&self.rule(), &self.symbols.options())
    }
}

/// Where symbols are looked for.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct SymbolArgs {
    /// Folder of stored profiles (`BUILD-ID.json` or `blake3-HASH.json`), used before built-in ones and debug files.
    #[arg(long, value_name = "DIR", value_parser = PathBufValueParser::new().try_map(folder))]
    profiles: Vec<PathBuf>,
    /// Folder of debug files, besides /usr/lib/debug.
    #[arg(long, value_name = "DIR", value_parser = PathBufValueParser::new().try_map(folder))]
    debug_dir: Vec<PathBuf>,
    /// Neither use nor write the cache of profiles.
    #[arg(long)]
    no_cache: bool,
}

/// A folder that is there; its name need not be UTF-8.
fn folder(path: PathBuf) -> Result<PathBuf, String> {
    match std::fs::metadata(&path) {
        Ok(found) if found.is_dir() => Ok(path),
        Ok(_) => Err("it is no folder".to_owned()),
        Err(error) => Err(format!("{error}; name a folder that exists")),
    }
}

impl SymbolArgs {
    pub(crate) fn options(&self) -> symbols::Options {
        let mut options =
            symbols::Options { isolation: Some(Isolation::own()), ..symbols::Options::default() };
        options.profile_dirs.clone_from(&self.profiles);
        options.debug_files.debug_dirs.extend(self.debug_dir.iter().cloned());
        if self.no_cache {
            options.cache_dir = None;
        }
        options
    }
}
