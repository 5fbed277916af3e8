//! Which server, and which version of it, a program is by its own strings.
//!
//! Forks keep MySQL's names and numbers, and change what lies behind them: Percona Server 5.6.24-72.2 exports what MySQL 5.6.24 does.
//! They are distinguished by texts that a client is shown: MariaDB by its version (`10.1.48-MariaDB`), Percona by the
//! comment beside it, which CMake compiles in (`version_comment`: `Percona Server (GPL), Release 72.2, Revision 8d0f85b`).
//!
//! MySQL and MariaDB copy their version to the global `server_version` at start (`sql/mysqld.cc`,
//! `set_server_version`), so in the file it stands as a string in `.rodata` only: on its own, or as
//! the tail of another (`MySQL 9.7.4`) where the linker merged the two.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::elf::{ElfError, Program};

/// Longest version string looked for, in bytes; `SERVER_VERSION_LENGTH` of MySQL is 60.
const MAX_LEN: usize = 60;

/// A release number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerVersion(pub u16, pub u16, pub u16);

/// A version string of a program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VersionText {
    /// Its number.
    pub version: ServerVersion,
    /// The whole string, e.g. `10.11.6-MariaDB-1`.
    pub text: String,
}

/// Who makes a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Oracle, and distributions that build its sources.
    Mysql,
    /// The MariaDB Foundation.
    Mariadb,
    /// Percona Server and Percona XtraDB Cluster.
    Percona,
}

impl Family {
    /// As profiles and definitions call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mysql => "mysql",
            Self::Mariadb => "mariadb",
            Self::Percona => "percona",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mysql => "MySQL",
            Self::Mariadb => "MariaDB",
            Self::Percona => "Percona Server",
        })
    }
}

/// What a program is by its own strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    /// Whose server; MySQL by default.
    pub family: Family,
    /// All versions that it states, sorted, each once.
    pub versions: Vec<VersionText>,
}

impl FromStr for ServerVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, '.').map(str::parse);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) => Ok(Self(major, minor, patch)),
            _ => Err(format!("`{text}` is no version of three numbers")),
        }
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl<'de> Deserialize<'de> for ServerVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Reads it from the strings of `.rodata`.
///
/// # Errors
/// The section cannot be read.
pub fn stated(program: &Program) -> Result<Stated, ElfError> {
    Ok(stated_in(&program.section(".rodata")?.unwrap_or_default()))
}

fn stated_in(rodata: &[u8]) -> Stated {
    let strings = || rodata.split(|byte| *byte == 0);
    let mut versions: Vec<VersionText> = strings().filter_map(tail).collect();
    versions.sort();
    versions.dedup();
    let comments: [&[u8]; 2] = [b"Percona Server", b"Percona XtraDB Cluster"];
    let is_comment = |string: &[u8]| comments.iter().any(|comment| string.starts_with(comment));
    let family = if versions.iter().any(|version| version.text.contains("MariaDB")) {
        Family::Mariadb
    } else if strings().any(is_comment) {
        Family::Percona
    } else {
        Family::Mysql
    };
    Stated { family, versions }
}

/// The version that a string ends in.
fn tail(string: &[u8]) -> Option<VersionText> {
    let last = string.last()?;
    if !last.is_ascii_alphanumeric() {
        return None;
    }
    let start = string.len().saturating_sub(MAX_LEN);
    (start..string.len()).find_map(|at| {
        let before = at.checked_sub(1).map(|i| string[i]);
        let number = |byte: u8| byte.is_ascii_digit() || byte == b'.';
        if !string[at].is_ascii_digit() || before.is_some_and(number) {
            return None;
        }
        let text = std::str::from_utf8(&string[at..]).ok()?;
        let (number, suffix) = text.split_once('-').unwrap_or((text, ""));
        let plain = |c: char| c.is_ascii_alphanumeric() || "+-.~_".contains(c);
        let version = number.parse().ok().filter(|_| suffix.chars().all(plain))?;
        Some(VersionText { version, text: text.to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use super::{Family, ServerVersion, stated_in, tail};

    fn text(string: &str) -> Option<String> {
        tail(string.as_bytes()).map(|v| v.text)
    }

    #[test]
    fn a_version_stands_alone_or_at_the_end() {
        assert_eq!(text("5.6.24").as_deref(), Some("5.6.24"));
        assert_eq!(text("MySQL 9.7.4").as_deref(), Some("9.7.4"));
        assert_eq!(text("8.0.36-28").as_deref(), Some("8.0.36-28"));
        let maria = "10.11.6-MariaDB-0+deb12u1";
        assert_eq!(text(maria).as_deref(), Some(maria));
    }

    #[test]
    fn other_numbers_are_no_versions() {
        for string in ["", "9.7.4.0", "1.9.7.4", "9.7", "9.7.x", "at 9.7.4 o'clock", "99999.1.1"] {
            assert_eq!(text(string), None, "{string}");
        }
    }

    #[test]
    fn families_are_told_apart_by_version_and_comment() {
        let family = |strings: &[&str]| stated_in(strings.join("\0").as_bytes()).family;
        assert_eq!(family(&["5.6.24", "MySQL Community Server (GPL)"]), Family::Mysql);
        assert_eq!(family(&["MySQL 9.7.4", "(Debian)"]), Family::Mysql);
        assert_eq!(family(&["8.0.36-0ubuntu0.22.04.1", "(Ubuntu)"]), Family::Mysql);
        let comment = "Percona Server (GPL), Release 72.2, Revision 8d0f85b";
        assert_eq!(family(&["5.6.24-72.2", comment]), Family::Percona);
        let cluster =
            "Percona XtraDB Cluster (GPL), Release rel28, Revision 1ea1e9f, WSREP version 26.1.4";
        assert_eq!(family(&["8.0.36-28.1", cluster]), Family::Percona);
        // MariaDB names its contributors, and states the version of the InnoDB that it had from MySQL.
        let maria = ["5.6.49", "10.1.48-MariaDB", "Percona and Sergei Golubchik", "Percona"];
        assert_eq!(family(&maria), Family::Mariadb);
        assert_eq!(family(&[]), Family::Mysql);
    }

    #[test]
    fn versions_order_by_number() {
        assert!(ServerVersion(5, 6, 24) > ServerVersion(5, 6, 9));
    }
}
