//! Numbers for people.

use migration_record::approximate;

/// A unit in which a quantity is drawn or written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Unit {
    /// How much one of it is, in the quantity's base unit.
    pub(crate) size: f64,
    /// Its name.
    pub(crate) name: &'static str,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantity {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Bytes.
    Bytes,
    /// Bits per second.
    BitsPerSecond,
    /// Things that have no unit but their name.
    Count(&'static str),
}

const fn units<const N: usize>(list: [(f64, &'static str); N]) -> [Unit; N] {
    let mut units = [Unit { size: 1.0, name: "" }; N];
    let mut i = 0;
    while i < N {
        units[i] = Unit { size: list[i].0, name: list[i].1 };
        i += 1;
    }
    units
}

const BYTES: [Unit; 5] = units([
    (1.0, "B"),
    (1024.0, "KiB"),
    (1_048_576.0, "MiB"),
    (1_073_741_824.0, "GiB"),
    (1_099_511_627_776.0, "TiB"),
]);
const BITS: [Unit; 4] = units([(1.0, "bit/s"), (1e3, "kbit/s"), (1e6, "Mbit/s"), (1e9, "Gbit/s")]);
const COUNTS: [Unit; 3] = units([(1.0, ""), (1e3, "thousand"), (1e6, "million")]);

impl Quantity {
    /// The unit in which numbers up to `highest` read best.
    pub(crate) fn unit(self, highest: f64) -> Unit {
        let best = |units: &[Unit]| {
            // 1000 MiB is more than four characters; it is 0.98 GiB.
            let fits = |unit: &&Unit| highest >= 0.97 * unit.size;
            units.iter().rev().find(fits).or(units.first()).copied()
        };
        let found = match self {
            Self::Seconds => Some(Unit { size: 1.0, name: "s" }),
            Self::Milliseconds => Some(Unit { size: 1.0, name: "ms" }),
            Self::Bytes => best(&BYTES),
            Self::BitsPerSecond => best(&BITS),
            Self::Count(_) => best(&COUNTS),
        };
        found.unwrap_or(Unit { size: 1.0, name: "" })
    }

    /// A single number with its unit.
    pub(crate) fn text(self, value: f64) -> String {
        if let Self::Count(_) = self {
            return whole(value);
        }
        let unit = self.unit(value.abs());
        format!("{} {}", three_digits(value / unit.size), unit.name)
    }
}

/// Bytes with a binary unit.
pub(crate) fn bytes(count: u64) -> String {
    Quantity::Bytes.text(approximate(count))
}

/// Bits per second; `not shaped` for a link without a limit.
pub(crate) fn link(bits_per_s: Option<u64>) -> String {
    bits_per_s
        .map_or("not shaped".to_owned(), |bits| Quantity::BitsPerSecond.text(approximate(bits)))
}

/// A whole number with thousands apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `part` of `whole` in percent; empty of nothing.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::new();
    }
    format!("{} %", three_digits(100.0 * approximate(part) / approximate(whole)))
}

/// Three digits that matter; whole numbers from 100 on.
pub(crate) fn three_digits(value: f64) -> String {
    let size = value.abs();
    let text = match size {
        _ if size >= 99.95 => return whole(value),
        _ if size >= 9.995 => format!("{value:.1}"),
        _ if size >= 0.9995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    };
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" { "0".to_owned() } else { short.to_owned() }
}

fn whole(value: f64) -> String {
    let rounded = format!("{value:.0}");
    // Beyond 2^64 nothing here has a meaning; it is shown as it is.
    let (sign, digits) = rounded.strip_prefix('-').map_or(("", &*rounded), |rest| ("-", rest));
    digits.parse().map_or_else(|_| rounded.clone(), |number| format!("{sign}{}", count(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, -0.0, 0.0004, 0.5, 1.0, 9.999, 12.34, 99.96, 1234.5, -2048.0];
        let texts = texts.map(three_digits);
        assert_eq!(texts, ["0", "0", "0", "0.5", "1", "10", "12.3", "100", "1,234", "-2,048"]);
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!(percent(1, 0), "");
    }

    #[test]
    fn units_fit_their_numbers() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(1000 << 20), "0.977 GiB");
        assert_eq!(bytes(2 << 30), "2 GiB");
        assert_eq!(link(Some(1_000_000_000)), "1 Gbit/s");
        assert_eq!(link(None), "not shaped");
        assert_eq!(Quantity::Seconds.text(12.0), "12 s");
        assert_eq!(Quantity::Count("pages").text(f64::MAX).len(), 309);
    }
}
