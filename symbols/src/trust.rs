//! Whose files are believed.
//!
//! A debug file decides where probes go and what is read, so it is as trusted as its writers. Of a
//! server, that may be root, the user that it runs as (it could do worse to its own server), and the user
//! that looks. Everybody else is a stranger, whatever folder the file lies in and whatever build id it
//! states.

use rustix::fs::Stat;
use serde::{Deserialize, Serialize};

use crate::elf::Owner;

/// The users whose files are believed of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trust {
    users: Vec<u32>,
}

/// Why a file is not believed, or not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Distrust {
    /// Its owner is a stranger.
    #[error("belongs to user {uid}, who is neither root nor the server's user")]
    Owner {
        /// `st_uid`.
        uid: u32,
    },
    /// Strangers may write to it.
    #[error("may be written by others than its owner (mode {mode:04o})")]
    Writable {
        /// Permission bits of `st_mode`.
        mode: u32,
    },
}

/// All who may write to it decide what it holds: group and others, but for root's own group.
const fn is_open(owner: &Owner) -> bool {
    owner.mode & 0o002 != 0 || (owner.mode & 0o020 != 0 && owner.gid != 0)
}

impl Trust {
    /// Root, the user of this process, and `users`; those of a running server, or the program's owner
    /// where none runs.
    pub(crate) fn new(users: Option<&[u32]>, program: Option<Owner>) -> Self {
        let mut trust = Self::own();
        match users {
            Some(users) => trust.users.extend(users),
            None => trust.users.extend(program.map(|owner| owner.uid)),
        }
        trust
    }

    /// Root and the user of this process; behind sudo also the user who called it.
    pub(crate) fn own() -> Self {
        let me = rustix::process::geteuid().as_raw();
        let caller = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
        let caller = caller.filter(|_| me == 0);
        Self { users: [0, me].into_iter().chain(caller).collect() }
    }

    /// Root alone: of what a distribution's packages bring.
    pub(crate) fn root() -> Self {
        Self { users: vec![0] }
    }

    /// Whether only those who are trusted may have written a file.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check(&self, owner: &Owner) -> Result<(), Distrust> {
        if !self.users.contains(&owner.uid) {
            return Err(Distrust::Owner { uid: owner.uid });
        }
        if is_open(owner) {
            return Err(Distrust::Writable { mode: owner.mode });
        }
        Ok(())
    }

    /// Whether strangers can put another file in the place of one in these folders. In a folder with the
    /// sticky bit they can only add.
    pub(crate) fn holds_still(&self, mut folders: impl Iterator<Item = Option<Stat>>) -> bool {
        const STICKY: u32 = 0o1000;
        folders.all(|folder| {
            folder.is_some_and(|stat| {
                let owner = Owner::of(&stat);
                self.users.contains(&owner.uid) && (!is_open(&owner) || owner.mode & STICKY != 0)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_not_believed() {
        let trust = Trust { users: vec![0, 27] };
        let owner = |uid, gid, mode| trust.check(&Owner { uid, gid, mode });
        for (uid, gid, mode) in [(0, 0, 0o644), (27, 27, 0o600), (0, 0, 0o664), (27, 5, 0o755)] {
            assert_eq!(owner(uid, gid, mode), Ok(()), "{uid} {gid} {mode:o}");
        }
        assert_eq!(owner(1000, 0, 0o644), Err(Distrust::Owner { uid: 1000 }));
        for (uid, gid, mode) in [(0, 0, 0o666), (0, 100, 0o664), (27, 27, 0o622)] {
            assert_eq!(owner(uid, gid, mode), Err(Distrust::Writable { mode }));
        }
    }
}
