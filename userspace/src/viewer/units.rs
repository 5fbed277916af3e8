//! Numbers as people read them. Every function gives a short text without padding; the views align.

use std::time::Duration;

/// A size in binary units with three significant digits: `16 B`, `752 KiB`, `6.29 GiB`.
pub(crate) fn bytes(value: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut scaled = to_f64(value);
    let mut unit = 0;
    // 999.5 and above would print four digits
    while scaled >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{value} B") } else { format!("{} {}", three(scaled), UNITS[unit]) }
}

/// A count with separators between thousands: `524,288`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A rate in decimal units: `0 /s`, `0.40 /s`, `1.23 k/s`.
pub(crate) fn rate(per_second: f64) -> String {
    const UNITS: [&str; 5] = ["", "k", "M", "G", "T"];
    let mut scaled = if per_second.is_finite() { per_second.max(0.0) } else { 0.0 };
    let mut unit = 0;
    while scaled >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    // hits are whole: without a prefix, decimals only below 10, where a whole number would be too coarse
    let number = match unit {
        0 if scaled == 0.0 || scaled >= 10.0 => format!("{scaled:.0}"),
        _ => three(scaled),
    };
    format!("{number} {}/s", UNITS[unit])
}

/// A latency in ns: `850 ns`, `33.0 us`, `1.05 ms`, `2.10 s`.
pub(crate) fn nanoseconds(value: u64) -> String {
    match value {
        0..1_000 => format!("{value} ns"),
        1_000..1_000_000 => format!("{} us", three(to_f64(value) / 1e3)),
        1_000_000..1_000_000_000 => format!("{} ms", three(to_f64(value) / 1e6)),
        _ => format!("{} s", three(to_f64(value) / 1e9)),
    }
}

/// A stretch of time for people: `3.2 s`, `2 min 05 s`, `7 h 12 min`, `12 d 3 h`.
pub(crate) fn time(value: Duration) -> String {
    let whole = value.as_secs();
    match whole {
        0..60 => format!("{:.1} s", value.as_secs_f64()),
        60..3_600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {:02} min", whole / 3_600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3_600 % 24),
    }
}

/// A share of 0 to 1 (and above) in per cent: `78.6 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", if share.is_finite() { share * 100.0 } else { 0.0 })
}

/// `part` of `whole` as a share; 0 of nothing is 0.
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { to_f64(part) / to_f64(whole) }
}

/// The nearest `f64`; counts and sizes above 2^53 lose low digits that are not shown.
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub(crate) const fn to_f64(value: u64) -> f64 {
    value as f64
}

/// Three significant digits of a number below 1000.
fn three(value: f64) -> String {
    // the thresholds are where rounding would add a digit
    if value < 9.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_keep_three_digits_over_unit_borders() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "0.98 KiB"),
            (16_384, "16.0 KiB"),
            (1_023 << 20, "1.00 GiB"),
            (6_754_000_000, "6.29 GiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (value, text) in cases {
            assert_eq!(bytes(value), text, "{value}");
        }
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!([0, 999, 1_000, 12_345_678].map(count), ["0", "999", "1,000", "12,345,678"]);
    }

    #[test]
    fn rates_and_times() {
        let rates = [0.0, 0.4, 9.996, 42.0, 999.6, 1_234.0, 5e9, f64::NAN, -1.0].map(rate);
        let expected = [
            "0 /s", "0.40 /s", "10.0 /s", "42 /s", "1.00 k/s", "1.23 k/s", "5.00 G/s", "0 /s",
            "0 /s",
        ];
        assert_eq!(rates, expected);
        assert_eq!([850, 33_000, 1_048_575].map(nanoseconds), ["850 ns", "33.0 us", "1.05 ms"]);
        let seconds = |s| time(Duration::from_secs(s));
        assert_eq!([59, 125, 26_000].map(seconds), ["59.0 s", "2 min 05 s", "7 h 13 min"]);
    }
}
