//! The server process: finding it, naming it, noticing that it has gone or become another.

mod account;
mod candidates;
mod error;
mod facts;
mod inode;
mod loader;
mod rule;
mod sighting;
mod unit;

use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use kernel_text::{Mapping, first_mapping, text_head};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use symbols::Ends;
use symbols::addr::LinkAddr;
use symbols::profile::Profile;
use symbols::text::ProgramText;

pub use account::{Account, NoAccount};
pub use error::TargetError;
pub use rule::{SERVER_NAMES, ServerRule};
pub use sighting::Sighting;

use crate::memory::{Memory, ServerAddr};
use facts::unit_of;
use inode::inode;
use sighting::ProgramFile;

/// Most bytes of a server's table of mappings that are gone through for where its program lies. It stands
/// below the libraries and stacks, so among the first lines.
const MAX_MAPS: u64 = 64 << 20;
/// Most bytes of a map of users: 340 lines (user_namespaces(7)).
const MAX_UID_MAP: u64 = 64 << 10;

/// A server process. A pid alone may be reused: the start time makes it one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Process id in the observer's pid namespace.
    pub pid: u32,
    /// Clock ticks from boot to start (`/proc/PID/stat`, field 22).
    pub started: u64,
    /// The program as the process's own namespace names it: the server itself where it was started
    /// through the dynamic loader.
    pub exe: PathBuf,
    /// Device and inode of the program: another one after an exec.
    pub exe_inode: (u64, u64),
    /// The working directory, which is the data directory of a MySQL server.
    pub cwd: PathBuf,
    /// The account that started it, or that it changed to: its real user id.
    pub user: Account,
    /// Its systemd unit, where it has one: of the system's own, not of a user's manager.
    pub unit: Option<String>,
    /// Opens the program from here.
    program: PathBuf,
    /// Whether only root can change its program.
    program_is_roots: bool,
}

/// What makes a process with this pid one process, running one program.
struct Identity {
    started: u64,
    exe: PathBuf,
    program: PathBuf,
    inode: (u64, u64),
}

impl Identity {
    /// Of a process whose program has one of `names`, where there are any.
    fn of(pid: u32, names: Option<&[String]>) -> Result<Self, TargetError> {
        let ProgramFile { started, exe, path, found } = ProgramFile::of(pid)?;
        if !loader::is_loader(&exe) {
            return Ok(Self { started, exe, program: path, inode: found.inode });
        }
        match (loader::program_of(pid, names), names) {
            (Some(loader::Loaded { exe, program, inode }), _) => {
                Ok(Self { started, exe, program, inode })
            }
            (None, None) => Ok(Self { started, exe, program: path, inode: found.inode }),
            (None, Some(_)) => Err(TargetError::NotNamed { pid }),
        }
    }
}

impl Target {
    /// Looks at process `pid`.
    ///
    /// # Errors
    /// When it does not exist or may not be looked at.
    pub fn of(pid: u32) -> Result<Self, TargetError> {
        Self::named(pid, None)
    }

    /// The same; of a dynamic loader, only where it has loaded a program with one of `names`.
    fn named(pid: u32, names: Option<&[String]>) -> Result<Self, TargetError> {
        let Identity { started, exe, program, inode: exe_inode } = Identity::of(pid, names)?;
        let cwd = PathBuf::from(format!("/proc/{pid}/cwd"));
        Ok(Self {
            pid,
            started,
            exe,
            exe_inode,
            cwd: fs::read_link(&cwd)
                .map_err(|source| TargetError::Unreadable { path: cwd, source })?,
            user: sighting::user(pid)?,
            unit: unit_of(pid),
            program_is_roots: inode(&program).is_ok_and(|program| program.is_roots),
            program,
        })
    }

    /// Every process whose program has one of `names`, except kernel threads and the unreadable.
    #[must_use]
    pub fn all(names: &[String]) -> Vec<Self> {
        let rule = ServerRule { names: names.to_vec(), ..ServerRule::default() };
        let mut list: Vec<Self> =
            Sighting::all(names).iter().filter_map(|seen| rule.settle(seen).ok()).collect();
        list.sort_by_key(|target| target.pid);
        list
    }

    /// Whether it looks like a server of the machine's own: its program is root's, and it runs as an account of the
    /// system. Any user's process may be a server; this only decides whose turn is first.
    #[must_use]
    pub const fn is_likely(&self) -> bool {
        self.program_is_roots && self.user.is_of_the_system()
    }

    /// The program file, openable whatever namespace or chroot the server lives in.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        self.program.clone()
    }

    /// Opens the program to be probed: the very file that this process runs. Reading it ends with the process.
    ///
    /// # Errors
    /// It cannot be opened, is no program, lacks what the proofs of the profile need, or the process runs another by
    /// now.
    pub fn text(&self, profile: &Profile) -> Result<ProgramText, TargetError> {
        let pid = self.pid;
        let end = Ends::default().and(Arc::new(self.pidfd()?));
        let text = ProgramText::open(&self.program).map(|text| text.until(end));
        let text = text.and_then(|text| text.prepare(profile).map(|()| text));
        let text = text.map_err(|source| TargetError::Text { pid, source })?;
        match text.id() == self.exe_inode && self.is_alive() {
            true => Ok(text),
            false => Err(TargetError::Changed { pid }),
        }
    }

    /// The server's root directory, likewise.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.pid))
    }

    /// Users whose debug files are trusted for this server, besides root: its own, and the one who is root in
    /// its user namespace (a container's).
    #[must_use]
    pub fn trusted_users(&self) -> Vec<u32> {
        let map = text_head(format!("/proc/{}/uid_map", self.pid), MAX_UID_MAP).unwrap_or_default();
        [self.user.0].into_iter().chain(root_in(&map)).collect()
    }

    /// The server's memory.
    #[must_use]
    pub const fn memory(&self) -> Memory {
        Memory::of(self.pid)
    }

    /// A descriptor of the process, readable when it has ended (pidfd_open(2), Linux 5.3).
    ///
    /// # Errors
    /// When it is gone, or no descriptor is left.
    pub fn pidfd(&self) -> Result<OwnedFd, TargetError> {
        let gone = || TargetError::Gone { pid: self.pid };
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let opened = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| match error {
            Errno::SRCH => gone(),
            other => {
                let path = PathBuf::from(format!("/proc/{}", self.pid));
                TargetError::Unreadable { path, source: other.into() }
            }
        })?;
        // The number may have been given to another process before it was opened.
        if self.is_alive() { Ok(opened) } else { Err(gone()) }
    }

    /// Whether the same process still runs the same program.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        // A zombie still has its stat but no program any more.
        Identity::of(self.pid, None)
            .is_ok_and(|now| now.started == self.started && now.inode == self.exe_inode)
    }

    /// What to add to a link address: 0 for a fixed-position program.
    ///
    /// # Errors
    /// When the program's mappings cannot be read or do not hold it.
    pub fn load_bias(&self, pie: bool) -> Result<LoadBias, TargetError> {
        if !pie {
            return Ok(LoadBias(0));
        }
        // A position-independent program is linked at 0 (`PT_LOAD` of offset 0 has address 0 in every linker's default
        // layout). Overlay file systems report another inode in maps than stat does.
        let is_program =
            |mapping: &Mapping<'_>| mapping.inode == self.exe_inode.1 || mapping.name == self.exe;
        let start = first_mapping(self.pid, MAX_MAPS, |mapping| {
            (mapping.offset == 0 && is_program(mapping)).then_some(mapping.addresses.start)
        });
        let unreadable = |source| TargetError::Unreadable {
            path: PathBuf::from(format!("/proc/{}/maps", self.pid)),
            source,
        };
        start
            .map_err(unreadable)?
            .map(LoadBias)
            .ok_or_else(|| TargetError::NotMapped { pid: self.pid, program: self.exe.clone() })
    }
}

/// Who user 0 of a user namespace is outside of it (`/proc/PID/uid_map`, user_namespaces(7)).
fn root_in(map: &str) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (inside, outside) = (fields.next()?.ok()?, fields.next()?.ok()?);
        (inside == 0).then_some(outside)
    })
}

/// Difference between where the program lies and where the linker put it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadBias(pub u64);

impl LoadBias {
    /// Where a link address lies in the process.
    #[must_use]
    pub const fn apply(self, addr: LinkAddr) -> ServerAddr {
        ServerAddr(self.0.wrapping_add(addr.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_of_a_container_is_known_outside() {
        assert_eq!(root_in("         0          0 4294967295\n"), Some(0));
        assert_eq!(root_in("         0     100000      65536\n"), Some(100_000));
        assert_eq!(root_in("      1000       1000          1\n"), None);
        for hostile in ["", "0", "x y z", "-1 0 1", "0 99999999999 1"] {
            assert_eq!(root_in(hostile), None, "{hostile}");
        }
        let me = Target::of(std::process::id()).unwrap();
        assert!(me.trusted_users().contains(&me.user.0));
    }

    #[test]
    fn own_process_is_found_by_name_and_has_a_bias() {
        let me = Target::of(std::process::id()).unwrap();
        let name = me.exe.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(Target::all(&[name]).contains(&me));
        assert!(me.is_alive());
        let bias = me.load_bias(true).unwrap();
        // The ELF magic lies where the program begins.
        assert_eq!(me.memory().integer(ServerAddr(bias.0), 4).unwrap(), 0x464c_457f);
    }

    #[test]
    fn a_missing_server_is_an_error_with_a_remedy() {
        let rule = ServerRule { names: vec!["no-such-server".to_owned()], ..ServerRule::default() };
        // Processes that are called like a loader are there, for all that is known.
        let none = |seen: &Sighting| seen.is_loader && rule.settle(seen).is_err();
        assert!(
            rule.candidates().is_ok_and(|seen| seen.iter().all(none)) || rule.candidates().is_err()
        );
        let error = rule.none();
        assert!(error.to_string().contains("no-such-server"));
        assert!(error.hint().is_some());
        assert!(matches!(Target::of(u32::MAX), Err(TargetError::Gone { .. })));
    }
}
