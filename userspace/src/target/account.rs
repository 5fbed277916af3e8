//! The account that a process runs as, and whose that is.
//!
//! A user of containers without root has 65,536 accounts more for what runs in them (subuid(5)). Where an account has its
//! share of something, they are one.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;

/// An account, by number; shown by name where this machine has one for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(pub u32);

/// No account has that name.
#[derive(Debug, Error)]
#[error("no user `{0}` on this machine; a number will do too")]
pub struct NoAccount(String);

/// Highest number of an account that the system made for itself (login.defs(5), `SYS_UID_MAX`).
const LAST_OF_THE_SYSTEM: u32 = 999;

/// Where ranges of accounts are given to users.
const SUBUIDS: &str = "/etc/subuid";
/// Longest list of them that is read.
const MOST_BYTES: u64 = 1 << 20;
/// A container's accounts, by custom.
const OF_A_CONTAINER: u32 = 1 << 16;
/// How long an owner is known.
const KNOWN: Duration = Duration::from_secs(10);
/// Owners that are known at once.
const MOST_KNOWN: usize = 1024;

impl Account {
    /// Who answers for it: the user that it was given to, or itself.
    #[must_use]
    pub fn owner(self) -> Self {
        static OWNERS: Mutex<Option<HashMap<Account, (Account, Instant)>>> = Mutex::new(None);
        // Below are the system's own accounts and people.
        if self.0 < OF_A_CONTAINER {
            return self;
        }
        let mut owners = OWNERS.lock().unwrap_or_else(PoisonError::into_inner);
        let owners = owners.get_or_insert_default();
        match owners.get(&self) {
            Some((owner, since)) if since.elapsed() < KNOWN => *owner,
            _ => {
                let list = foreign_file::read(Path::new(SUBUIDS), MOST_BYTES).unwrap_or_default();
                let owner = self.owner_in(&String::from_utf8_lossy(&list));
                if owners.len() >= MOST_KNOWN {
                    owners.clear();
                }
                owners.insert(self, (owner, Instant::now()));
                owner
            }
        }
    }

    /// The owner by a list of lines `USER:FIRST:COUNT`. What root has given to containers of its own is one account a
    /// container, and none of root's.
    fn owner_in(self, list: &str) -> Self {
        let range = |line: &str| {
            let mut words = line.split(':');
            let (user, first) =
                (words.next()?.to_owned(), words.next()?.trim().parse::<u32>().ok()?);
            let count: u32 = words.next()?.trim().parse().ok()?;
            let ahead = self.0.checked_sub(first).filter(|ahead| *ahead < count)?;
            Some((user, first + ahead / OF_A_CONTAINER * OF_A_CONTAINER))
        };
        let Some((user, container)) = list.lines().find_map(range) else { return self };
        match user.parse() {
            Ok(Self(0)) => Self(container),
            Ok(owner) => owner,
            Err(_unknown) => Self(container),
        }
    }

    /// Whether it is one of the system's own, and no person's.
    #[must_use]
    pub const fn is_of_the_system(self) -> bool {
        self.0 <= LAST_OF_THE_SYSTEM
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match nix::unistd::User::from_uid(self.0.into()) {
            Ok(Some(user)) => f.write_str(&user.name),
            _ => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Account {
    type Err = NoAccount;

    fn from_str(text: &str) -> Result<Self, NoAccount> {
        if let Ok(number) = text.parse() {
            return Ok(Self(number));
        }
        match nix::unistd::User::from_name(text) {
            Ok(Some(user)) => Ok(Self(user.uid.as_raw())),
            _ => Err(NoAccount(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_in_a_users_containers_are_that_users() {
        let list = "# none\nnobody:100000:65536\n1234:165536:65536\nroot:1000000:1000000\nno one:3000000:65536\nx:y\n::\n";
        let nobody = "nobody".parse::<Account>().unwrap();
        for (account, owner) in [
            (99_999, Account(99_999)),
            (100_000, nobody),
            (165_535, nobody),
            (165_536, Account(1234)),
            (231_072, Account(231_072)),
            (1_000_005, Account(1_000_000)),
            (1_065_536, Account(1_065_536)),
            (1_065_999, Account(1_065_536)),
            (3_000_001, Account(3_000_000)),
            (u32::MAX, Account(u32::MAX)),
        ] {
            assert_eq!(Account(account).owner_in(list), owner, "{account}");
        }
        assert_eq!(Account(0).owner(), Account(0));
    }

    #[test]
    fn names_and_numbers_are_accounts() {
        assert_eq!("root".parse::<Account>().unwrap(), Account(0));
        assert_eq!("4711".parse::<Account>().unwrap(), Account(4711));
        assert!("no such user".parse::<Account>().unwrap_err().to_string().contains("number"));
        assert_eq!(Account(0).to_string(), "root");
        assert_eq!(Account(u32::MAX - 7).to_string(), (u32::MAX - 7).to_string());
        assert!(Account(110).is_of_the_system() && !Account(1000).is_of_the_system());
    }
}
