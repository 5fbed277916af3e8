//! The speed of a link.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};

/// What a link carries at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(Option<u64>);

impl Rate {
    /// As fast as the machine goes.
    pub const UNLIMITED: Self = Self(None);

    /// So many Gbit/s.
    #[must_use]
    pub const fn gigabits(gigabits: u64) -> Self {
        Self(Some(gigabits * 1_000_000_000))
    }

    /// Bits per second; `None` for no limit.
    #[must_use]
    pub const fn bits_per_second(self) -> Option<u64> {
        self.0
    }
}

impl FromStr for Rate {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "none" {
            return Ok(Self::UNLIMITED);
        }
        let (number, unit) = [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000)]
            .into_iter()
            .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))
            .with_context(|| {
                format!("`{text}` is no rate of a link; write `1gbit`, `200mbit` or `none`")
            })?;
        let number: u64 = number.parse().with_context(|| format!("`{text}` is no rate"))?;
        let bits = number.checked_mul(unit).with_context(|| format!("`{text}` is too fast"))?;
        ensure!(bits >= 1_000_000, "`{text}` is below 1mbit: nothing would ever end");
        Ok(Self(Some(bits)))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("none"),
            Some(bits) if bits.is_multiple_of(1_000_000_000) => {
                write!(f, "{}gbit", bits / 1_000_000_000)
            }
            Some(bits) => write!(f, "{}mbit", bits / 1_000_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        for text in ["none", "1gbit", "4gbit", "250mbit"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!("1000mbit".parse::<Rate>().unwrap().bits_per_second(), Some(1_000_000_000));
        for wrong in ["", "1", "gbit", "1kbit", "99999999999999gbit", "-1gbit"] {
            wrong.parse::<Rate>().unwrap_err();
        }
    }
}
