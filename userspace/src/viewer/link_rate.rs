//! Rate of the link that a migration would take.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::units;

/// A link's rate in bits a second; never zero.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct LinkRate(f64);

/// Text that is no link rate.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a link rate; write e.g. `1gbit` or `100mbit`")]
pub struct BadLinkRate(String);

impl BadLinkRate {
    /// What to type instead.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        "write a number and a unit of bits a second, such as `1gbit`, `2.5Gbit/s` or `100mbit`"
    }
}

/// The rates that the keys step through, in bits a second.
const STEPS: [f64; 12] =
    [100e6, 250e6, 500e6, 1e9, 2.5e9, 5e9, 10e9, 25e9, 40e9, 100e9, 200e9, 400e9];

impl Default for LinkRate {
    /// 1 Gbit/s.
    fn default() -> Self {
        Self(1e9)
    }
}

impl LinkRate {
    /// The next faster step, or itself when there is none.
    #[must_use]
    pub fn faster(self) -> Self {
        Self(STEPS.into_iter().find(|step| *step > self.0).unwrap_or(self.0))
    }

    /// The next slower step, or itself when there is none.
    #[must_use]
    pub fn slower(self) -> Self {
        Self(STEPS.into_iter().rev().find(|step| *step < self.0).unwrap_or(self.0))
    }

    /// Time that so many bytes take on the link alone: no protocol overhead, nothing sent twice.
    #[must_use]
    pub fn time_for(self, bytes: u64) -> Duration {
        Duration::try_from_secs_f64(units::to_f64(bytes) * 8.0 / self.0).unwrap_or(Duration::MAX)
    }
}

impl fmt::Display for LinkRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1e9 {
            write!(f, "{} Mbit/s", self.0 / 1e6)
        } else {
            write!(f, "{} Gbit/s", self.0 / 1e9)
        }
    }
}

impl FromStr for LinkRate {
    type Err = BadLinkRate;

    fn from_str(text: &str) -> Result<Self, BadLinkRate> {
        let bad = || BadLinkRate(text.to_owned());
        let lower = text.trim().to_ascii_lowercase();
        let number = lower.trim_end_matches(|c: char| !c.is_ascii_digit());
        let factor = match lower[number.len()..].trim().trim_end_matches("/s") {
            "kbit" | "k" => 1e3,
            "mbit" | "m" => 1e6,
            "gbit" | "g" => 1e9,
            "tbit" | "t" => 1e12,
            "bit" => 1.0,
            _ => return Err(bad()),
        };
        let rate = number.parse::<f64>().map_err(|_| bad())? * factor;
        // below 1 kbit/s a pool takes years: more likely a slip than a link
        if rate.is_finite() && rate >= 1e3 { Ok(Self(rate)) } else { Err(bad()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let cases = [
            ("1gbit", Some(1e9)),
            (" 2.5 Gbit/s", Some(2.5e9)),
            ("100M", Some(100e6)),
            ("1e3bit", Some(1e3)),
            ("1", None),
            ("gbit", None),
            ("0gbit", None),
            ("-1gbit", None),
            ("1gb", None),
            ("nan gbit", None),
            ("", None),
            ("1\u{20ac}", None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse().ok(), expected.map(LinkRate), "{text:?}");
        }
    }

    #[test]
    fn steps_end_at_both_ends() {
        let odd = LinkRate(3e9);
        assert_eq!((odd.faster(), odd.slower()), (LinkRate(5e9), LinkRate(2.5e9)));
        assert_eq!(LinkRate(400e9).faster(), LinkRate(400e9));
        assert_eq!(LinkRate(100e6).slower(), LinkRate(100e6));
    }

    #[test]
    fn time_on_the_link() {
        assert_eq!(LinkRate::default().time_for(125_000_000), Duration::from_secs(1));
        assert_eq!(LinkRate::default().to_string(), "1 Gbit/s");
        assert_eq!(LinkRate(250e6).to_string(), "250 Mbit/s");
    }
}
