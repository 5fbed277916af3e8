//! Which version a program says it is.
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
pub struct Version(pub u16, pub u16, pub u16);

/// A version string of a program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VersionText {
    /// Its number.
    pub version: Version,
    /// The whole string, e.g. `10.11.6-MariaDB-1`.
    pub text: String,
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, '.').map(str::parse);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) => Ok(Self(major, minor, patch)),
            _ => Err(format!("`{text}` is no version of three numbers")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Strings of `.rodata` that end in a version, sorted, each once.
///
/// # Errors
/// The section cannot be read.
pub fn version_texts(program: &Program) -> Result<Vec<VersionText>, ElfError> {
    let rodata = program.section(".rodata")?.unwrap_or_default();
    let mut found: Vec<VersionText> = rodata.split(|byte| *byte == 0).filter_map(tail).collect();
    found.sort();
    found.dedup();
    Ok(found)
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
    use super::{Version, tail};

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
    fn versions_order_by_number() {
        assert!(Version(5, 6, 24) > Version(5, 6, 9));
    }
}
