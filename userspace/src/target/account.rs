//! The account that a process runs as.

use std::fmt;
use std::str::FromStr;

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

impl Account {
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
    fn names_and_numbers_are_accounts() {
        assert_eq!("root".parse::<Account>().unwrap(), Account(0));
        assert_eq!("4711".parse::<Account>().unwrap(), Account(4711));
        assert!("no such user".parse::<Account>().unwrap_err().to_string().contains("number"));
        assert_eq!(Account(0).to_string(), "root");
        assert_eq!(Account(u32::MAX - 7).to_string(), (u32::MAX - 7).to_string());
        assert!(Account(110).is_of_the_system() && !Account(1000).is_of_the_system());
    }
}
