//! Which servers are meant.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{Account, SERVER_NAMES, Sighting, Target, TargetError, is_named, unit, unit_of};

/// Which servers are meant. Of each kind any of the values will do, and kinds narrow each other; a kind without
/// values says nothing. It says who may be looked at, not who is a server: that is proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
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

impl Rule {
    /// One process.
    #[must_use]
    pub fn pid(pid: u32) -> Self {
        Self { pids: vec![pid], ..Self::default() }
    }

    /// Every process that it allows, as far as a first look tells; those first that look most like a server of the
    /// machine's own, those last of which nothing is known but a loader's name. [`settle`](Self::settle) tells more.
    ///
    /// # Errors
    /// When there is none.
    pub fn candidates(&self) -> Result<Vec<Sighting>, TargetError> {
        let mut found = Vec::new();
        let mut gone = None;
        for &pid in &self.pids {
            match Sighting::of(pid) {
                Ok(seen) => found.push(seen),
                Err(error) => gone = Some(error),
            }
        }
        if self.pids.is_empty() {
            found = Sighting::all(&self.names());
        }
        found.retain(|seen| self.allows(seen.pid, seen.user));
        found.sort_by_key(|seen| (seen.is_loader, !seen.is_likely(), seen.started, seen.pid));
        found.dedup();
        match gone {
            _ if !found.is_empty() => Ok(found),
            Some(error) => Err(error),
            None => Err(self.none()),
        }
    }

    /// There is no such process.
    #[must_use]
    pub fn none(&self) -> TargetError {
        TargetError::None { rule: Box::new(self.clone()) }
    }

    /// A closer look at a process; how long it takes may be up to its owner.
    ///
    /// # Errors
    /// When it is gone or another one by now, may not be looked at, or is none that is meant.
    pub fn settle(&self, seen: &Sighting) -> Result<Target, TargetError> {
        let (pid, names) = (seen.pid, self.names());
        // Who is named by its number may be any program.
        let names = self.pids.is_empty().then_some(names.as_slice());
        let target = Target::named(pid, names)?;
        let has_name =
            names.is_none_or(|names| names.iter().any(|name| is_named(&target.exe, name)));
        let is_same = target.started == seen.started && has_name;
        match is_same && self.allows(pid, target.user) {
            true => Ok(target),
            false => Err(TargetError::Changed { pid }),
        }
    }

    /// Whether it is about more than names, which anybody may take.
    #[must_use]
    pub const fn is_narrow(&self) -> bool {
        !(self.pids.is_empty()
            && self.datadirs.is_empty()
            && self.users.is_empty()
            && self.units.is_empty())
    }

    /// The names that are looked for.
    fn names(&self) -> Vec<String> {
        if self.names.is_empty() {
            return SERVER_NAMES.map(str::to_owned).to_vec();
        }
        self.names.clone()
    }

    fn allows(&self, pid: u32, user: Account) -> bool {
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
    let inode = |path: &Path| super::inode(path).ok().map(|found| found.inode);
    std::fs::read_link(&current).is_ok_and(|cwd| cwd == datadir)
        || inode(datadir).is_some_and(|wanted| inode(&current) == Some(wanted))
}

/// As in `no running process ...`.
impl fmt::Display for Rule {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> (Target, Rule) {
        let me = Target::of(std::process::id()).unwrap();
        let name = me.exe.file_name().unwrap().to_str().unwrap().to_owned();
        (me, Rule { names: vec![name], ..Rule::default() })
    }

    #[test]
    fn kinds_narrow_each_other() {
        let (me, rule) = me();
        let seen = Sighting::of(me.pid).unwrap();
        let found = |rule: &Rule| {
            let found = rule.candidates().is_ok_and(|found| found.contains(&seen));
            assert_eq!(rule.settle(&seen).ok(), found.then(|| me.clone()));
            found
        };
        assert!(found(&rule) && found(&Rule::pid(me.pid)));
        let user = |user| Rule { users: vec![user], ..rule.clone() };
        assert!(found(&user(me.user)) && !found(&user(Account(me.user.0 + 1))));
        let either = Rule { users: vec![Account(me.user.0 + 1), me.user], ..rule.clone() };
        assert!(found(&either));
        let on = |path: &Path| Rule { datadirs: vec![path.to_owned()], ..rule.clone() };
        assert!(found(&on(&me.cwd)) && !found(&on(Path::new("/proc"))));
        let unit = Rule { units: vec!["no-such-unit".to_owned()], ..rule.clone() };
        assert!(!found(&unit));
    }

    #[test]
    fn a_folder_is_known_by_any_of_its_names() {
        let (me, rule) = me();
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&me.cwd, &link).unwrap();
        let rule = Rule { datadirs: vec![link], ..rule };
        assert!(rule.candidates().unwrap().contains(&Sighting::of(me.pid).unwrap()));
    }

    #[test]
    fn who_is_not_there_is_named() {
        let rule = Rule {
            names: vec!["no-such-server".to_owned()],
            users: vec![Account(0)],
            units: vec!["mysql".to_owned()],
            datadirs: vec![PathBuf::from("/data")],
            ..Rule::default()
        };
        let error = rule.candidates().unwrap_err().to_string();
        let wanted =
            "no running process named no-such-server of user root in unit mysql.service on /data";
        assert_eq!(error, wanted);
        let gone = Rule { pids: vec![u32::MAX, u32::MAX - 1], ..Rule::default() };
        assert!(matches!(gone.candidates(), Err(TargetError::Gone { .. })));
        let one = Rule { pids: vec![u32::MAX, std::process::id()], ..Rule::default() };
        assert_eq!(one.candidates().unwrap().len(), 1);
    }
}
