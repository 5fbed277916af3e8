//! From a rule to the processes that it means.

use super::error::TargetError;
use super::facts::is_named;
use super::rule::ServerRule;
use super::sighting::Sighting;
use crate::target::Target;

impl ServerRule {
    /// Every process that it allows, as far as a first look shows; those first that look most like a server of the
    /// machine's own, those last of which nothing is known but a loader's name. [`settle`](Self::settle) finds more.
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

    /// There is no such process, or none that we may look at.
    #[must_use]
    pub fn none(&self) -> TargetError {
        let rule = Box::new(self.clone());
        let mut unreadable =
            if self.pids.is_empty() { Sighting::unreadable(&self.names()) } else { Vec::new() };
        // The data directory of such a process is not known either.
        let known = Self { datadirs: Vec::new(), ..self.clone() };
        unreadable.retain(|&(pid, user, _)| known.allows(pid, user));
        let pids: Vec<u32> = unreadable.iter().map(|&(pid, ..)| pid).collect();
        match unreadable.into_iter().next() {
            Some((.., source)) => TargetError::NotPermitted { rule, pids, source },
            None => TargetError::None { rule },
        }
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
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::super::account::Account;
    use super::*;

    fn me() -> (Target, ServerRule) {
        let me = Target::of(std::process::id()).unwrap();
        let name = me.exe.file_name().unwrap().to_str().unwrap().to_owned();
        (me, ServerRule { names: vec![name], ..ServerRule::default() })
    }

    #[test]
    fn kinds_narrow_each_other() {
        let (me, rule) = me();
        let seen = Sighting::of(me.pid).unwrap();
        let found = |rule: &ServerRule| {
            let found = rule.candidates().is_ok_and(|found| found.contains(&seen));
            assert_eq!(rule.settle(&seen).ok(), found.then(|| me.clone()));
            found
        };
        assert!(found(&rule) && found(&ServerRule::pid(me.pid)));
        let user = |user| ServerRule { users: vec![user], ..rule.clone() };
        assert!(found(&user(me.user)) && !found(&user(Account(me.user.0 + 1))));
        let either = ServerRule { users: vec![Account(me.user.0 + 1), me.user], ..rule.clone() };
        assert!(found(&either));
        let on = |path: &Path| ServerRule { datadirs: vec![path.to_owned()], ..rule.clone() };
        assert!(found(&on(&me.cwd)) && !found(&on(Path::new("/proc"))));
        let unit = ServerRule { units: vec!["no-such-unit".to_owned()], ..rule.clone() };
        assert!(!found(&unit));
    }

    #[test]
    fn a_folder_is_known_by_any_of_its_names() {
        let (me, rule) = me();
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&me.cwd, &link).unwrap();
        let rule = ServerRule { datadirs: vec![link], ..rule };
        assert!(rule.candidates().unwrap().contains(&Sighting::of(me.pid).unwrap()));
    }

    #[test]
    fn who_is_not_there_is_named() {
        let rule = ServerRule {
            names: vec!["no-such-server".to_owned()],
            users: vec![Account(0)],
            units: vec!["mysql".to_owned()],
            datadirs: vec![PathBuf::from("/data")],
            ..ServerRule::default()
        };
        let error = rule.candidates().unwrap_err().to_string();
        let wanted =
            "no running process named no-such-server of user root in unit mysql.service on /data";
        assert_eq!(error, wanted);
        let gone = ServerRule { pids: vec![u32::MAX, u32::MAX - 1], ..ServerRule::default() };
        assert!(matches!(gone.candidates(), Err(TargetError::Gone { .. })));
        let one = ServerRule { pids: vec![u32::MAX, std::process::id()], ..ServerRule::default() };
        assert_eq!(one.candidates().unwrap().len(), 1);
    }
}
