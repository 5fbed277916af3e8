//! Which servers are meant.

use std::fmt;
use std::path::{Path, PathBuf};

use super::account::Account;
use super::facts::unit_of;
use super::inode::inode;
use super::unit;

/// Program names that are looked for by default.
pub const SERVER_NAMES: [&str; 3] = ["mysqld", "mariadbd", "mysqld-debug"];

/// Which servers are meant. Of each kind any of the values will do, and kinds narrow each other; a kind without
/// values has no effect. It selects who may be looked at, not who is a server: that is proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerRule {
    /// Process ids.
    pub pids: Vec<u32>,
    /// Names of the program; without any, and without process ids, [`SERVER_NAMES`].
    pub names: Vec<String>,
    /// Data directories, as this machine names them, or as the server does.
    pub datadirs: Vec<PathBuf>,
    /// Accounts that they run as.
    pub users: Vec<Account>,
    /// Units of systemd, with or without `.service`.
    pub units: Vec<String>,
}

impl ServerRule {
    /// One process.
    #[must_use]
    pub fn pid(pid: u32) -> Self {
        Self { pids: vec![pid], ..Self::default() }
    }

    /// Whether it is about more than names, which every user may take.
    #[must_use]
    pub const fn is_narrow(&self) -> bool {
        !(self.pids.is_empty()
            && self.datadirs.is_empty()
            && self.users.is_empty()
            && self.units.is_empty())
    }

    /// The names that are looked for.
    pub(super) fn names(&self) -> Vec<String> {
        if self.names.is_empty() {
            return SERVER_NAMES.map(str::to_owned).to_vec();
        }
        self.names.clone()
    }

    pub(super) fn allows(&self, pid: u32, user: Account) -> bool {
        (self.users.is_empty() || self.users.contains(&user))
            && (self.units.is_empty() || self.is_unit(pid))
            && (self.datadirs.is_empty() || self.datadirs.iter().any(|path| is_datadir(pid, path)))
    }

    fn is_unit(&self, pid: u32) -> bool {
        let unit = unit_of(pid);
        self.units.iter().any(|name| unit.as_ref() == Some(&unit::complete(name)))
    }
}

/// Whether a server works in this folder, which mysqld makes its current one.
fn is_datadir(pid: u32, datadir: &Path) -> bool {
    let current = PathBuf::from(format!("/proc/{pid}/cwd"));
    let inode = |path: &Path| inode(path).ok().map(|found| found.inode);
    std::fs::read_link(&current).is_ok_and(|cwd| cwd == datadir)
        || inode(datadir).is_some_and(|wanted| inode(&current) == Some(wanted))
}

/// As in `no running process ...`.
impl fmt::Display for ServerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: fmt::Display>(values: impl IntoIterator<Item = T>) -> String {
            values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(" or ")
        }
        if self.pids.is_empty() {
            write!(f, "named {}", list(self.names()))?;
        } else {
            write!(f, "{}", list(&self.pids))?;
        }
        if !self.users.is_empty() {
            write!(f, " of user {}", list(&self.users))?;
        }
        if !self.units.is_empty() {
            write!(f, " in unit {}", list(self.units.iter().map(|name| unit::complete(name))))?;
        }
        if !self.datadirs.is_empty() {
            write!(f, " on {}", list(self.datadirs.iter().map(|path| foreign::path(path))))?;
        }
        Ok(())
    }
}
