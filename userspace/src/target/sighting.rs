//! A process that may be a server as far as its name goes.
//!
//! Every user may call a program by a server's name, or by that of the dynamic loader, as often as they like. So a first
//! look at a process reads only what the kernel answers at once whatever the process is like, and keeps a few bytes. What
//! takes longer, its command line and its mappings, is looked at later, when it is the turn of its account.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kernel_text::text_head;

use super::account::Account;
use super::error::TargetError;
use super::facts::{is_named, real_user, start_time};
use super::inode::{PathOwner, inode};
use super::loader;

/// `/proc/PID/stat` is one line of some 50 numbers; of `status` the account stands before lists that the process makes
/// as long as it likes.
const MOST_STAT: u64 = 4096;
const MOST_STATUS: u64 = 4096;
const MOST_COMM: u64 = 64;
const COMM_BYTES: usize = 15;

/// What a first look at a process shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Process id in the observer's pid namespace.
    pub pid: u32,
    /// Clock ticks from boot to start (`/proc/PID/stat`, field 22).
    pub started: u64,
    /// The account that started it, or that it changed to: its real user id.
    pub user: Account,
    /// Device and inode of the program that the kernel knows.
    pub(crate) inode: (u64, u64),
    /// Whether only root can change its program.
    is_roots: bool,
    /// Whether that program is a dynamic loader, and the server would be a file that it has loaded.
    pub(crate) is_loader: bool,
}

/// Where `/proc/PID/exe` leads to.
pub(super) struct ProgramFile {
    pub(super) started: u64,
    /// As the process's own namespace names it.
    pub(super) exe: PathBuf,
    /// Opens it from here.
    pub(super) path: PathBuf,
    pub(super) found: PathOwner,
}

impl ProgramFile {
    pub(super) fn of(pid: u32) -> Result<Self, TargetError> {
        let stat = text_head(format!("/proc/{pid}/stat"), MOST_STAT);
        let started =
            stat.ok().and_then(|stat| start_time(&stat)).ok_or(TargetError::Gone { pid })?;
        let path = PathBuf::from(format!("/proc/{pid}/exe"));
        let unreadable = |source| TargetError::Unreadable { path: path.clone(), source };
        let exe = fs::read_link(&path).map_err(unreadable)?;
        let found = inode(&path).map_err(unreadable)?;
        Ok(Self { started, exe, path, found })
    }
}

/// The account of a process.
pub(super) fn user(pid: u32) -> Result<Account, TargetError> {
    let path = PathBuf::from(format!("/proc/{pid}/status"));
    let status =
        text_head(&path, MOST_STATUS).map_err(|source| TargetError::Unreadable { path, source })?;
    real_user(&status).ok_or(TargetError::Gone { pid })
}

impl Sighting {
    /// Looks at process `pid`.
    ///
    /// # Errors
    /// When it does not exist or may not be looked at.
    pub fn of(pid: u32) -> Result<Self, TargetError> {
        let ProgramFile { started, exe, found, .. } = ProgramFile::of(pid)?;
        let PathOwner { inode, is_roots } = found;
        Ok(Self {
            pid,
            started,
            user: user(pid)?,
            inode,
            is_roots,
            is_loader: loader::is_loader(&exe),
        })
    }

    /// Every process whose program has one of `names`, or may have loaded one that has, except kernel threads and the
    /// unreadable.
    #[must_use]
    pub fn all(names: &[String]) -> Vec<Self> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        // Most processes have another program, and one look shows it.
        let may_have_name =
            |exe: &Path| loader::is_loader(exe) || names.iter().any(|name| is_named(exe, name));
        pids(entries)
            .filter(|pid: &u32| {
                fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| may_have_name(&exe))
            })
            .filter_map(|pid| Self::of(pid).ok())
            .collect()
    }

    /// Processes with one of `names` as their own name (`/proc/PID/comm`, which everybody may read) whose program may not
    /// be looked at, and why.
    pub(super) fn unreadable(names: &[String]) -> Vec<(u32, Account, io::Error)> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        pids(entries)
            .filter_map(|pid| {
                let name = text_head(format!("/proc/{pid}/comm"), MOST_COMM).ok()?;
                let name = name.trim_end_matches('\n');
                names.iter().any(|wanted| is_comm(name, wanted)).then_some(())?;
                match fs::read_link(format!("/proc/{pid}/exe")) {
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        Some((pid, user(pid).ok()?, error))
                    }
                    _ => None,
                }
            })
            .collect()
    }

    /// Whether it looks like a server of the machine's own, as [`Target::is_likely`](super::Target::is_likely) has it; what
    /// a loader has loaded is not known yet.
    #[must_use]
    pub const fn is_likely(&self) -> bool {
        self.is_roots && self.user.is_of_the_system() && !self.is_loader
    }
}

fn pids(entries: fs::ReadDir) -> impl Iterator<Item = u32> {
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Whether a program called `name` gives its process this name: the kernel keeps its first 15 bytes (`TASK_COMM_LEN`,
/// include/linux/sched.h).
fn is_comm(comm: &str, name: &str) -> bool {
    comm == name || (comm.len() == COMM_BYTES && name.starts_with(comm))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::target::{ServerRule, Target};

    /// A process of this name.
    fn process(name: &str, words: &[&str]) -> (tempfile::TempDir, std::process::Child) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(name);
        fs::copy("/bin/sleep", &program).unwrap();
        let child = Command::new(&program).args(words).spawn().unwrap();
        (folder, child)
    }

    fn rule(name: &str) -> ServerRule {
        ServerRule { names: vec![name.to_owned()], ..ServerRule::default() }
    }

    #[test]
    fn a_first_look_tells_the_account_and_the_name() {
        let (_folder, mut child) = process("first-look", &["100"]);
        let names = ["first-look".to_owned()];
        let seen = Sighting::all(&names);
        let [seen] = seen.iter().filter(|seen| !seen.is_loader).collect::<Vec<_>>()[..] else {
            panic!("{seen:?}");
        };
        let target = Target::of(child.id()).unwrap();
        assert_eq!((seen.pid, seen.started, seen.user), (child.id(), target.started, target.user));
        assert_eq!(rule("first-look").settle(seen).unwrap(), target);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(rule("first-look").settle(seen), Err(TargetError::Gone { .. })));
    }

    #[test]
    fn a_process_has_the_first_bytes_of_its_programs_name() {
        assert!(
            is_comm("mysqld", "mysqld") && is_comm("a-long-name-of-", "a-long-name-of-a-server")
        );
        assert!(!is_comm("mysqld", "mysqld-debug") && !is_comm("", "mysqld"));
        let (_folder, mut child) = process("first-comm", &["100"]);
        // Root may look at it, so it is none of these.
        let unreadable = Sighting::unreadable(&["first-comm".to_owned()]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(unreadable.is_empty(), "{unreadable:?}");
    }

    #[test]
    fn a_loader_is_none_of_the_servers_unless_it_has_loaded_one() {
        // The word is that of a program that it does not map.
        let (_folder, mut child) = process("ld-test.so.2", &["100"]);
        let seen = Sighting::of(child.id()).unwrap();
        assert!(seen.is_loader && !seen.is_likely());
        assert!(Sighting::all(&["mysqld".to_owned()]).contains(&seen));
        for name in ["mysqld", "100"] {
            let settled = rule(name).settle(&seen);
            assert!(matches!(settled, Err(TargetError::NotNamed { .. })), "{name}: {settled:?}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
