//! Sizes as people write them: `512M`, `2G`, `1.2G`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};

/// Bytes of a MiB.
pub const MIB: u64 = 1 << 20;

/// A size in bytes, a whole number of MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// So many MiB.
    #[must_use]
    pub const fn mib(mib: u64) -> Self {
        Self(mib)
    }

    /// In MiB.
    #[must_use]
    pub const fn in_mib(self) -> u64 {
        self.0
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0 * MIB
    }
}

impl FromStr for Size {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = text.trim_end_matches(char::is_alphabetic);
        let unit = match text[number.len()..].to_ascii_lowercase().as_str() {
            "m" | "mib" => 1.0,
            "g" | "gib" => 1024.0,
            other => anyhow::bail!("`{other}` is no unit of a size; write `512M` or `2G`"),
        };
        let number: f64 = number.parse().with_context(|| format!("`{text}` is no size"))?;
        let mib = (number * unit).round();
        ensure!((1.0..=f64::from(1 << 24)).contains(&mib), "`{text}` is not between 1M and 16384G");
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number between 1 and 2^24"
        )]
        Ok(Self(mib as u64))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!("512M".parse::<Size>().unwrap(), Size::mib(512));
        assert_eq!("1.2GiB".parse::<Size>().unwrap(), Size::mib(1229));
        assert_eq!(Size::mib(2).bytes(), 2 << 20);
        for wrong in ["", "512", "M", "0.1M", "1e9G", "12K", "-1G"] {
            wrong.parse::<Size>().unwrap_err();
        }
    }
}
