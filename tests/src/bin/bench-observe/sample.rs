//! Repeated measurements.

use std::time::{Duration, Instant};

use anyhow::Result;

/// The median; not a number when there is nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.len() / 2;
    match sorted.as_slice() {
        [] => f64::NAN,
        all if all.len() % 2 == 1 => all[upper],
        all => f64::midpoint(all[upper - 1], all[upper]),
    }
}

/// Two standard errors of the median; infinite for fewer than two values.
pub(crate) fn uncertainty(values: &[f64]) -> f64 {
    let count = number(values.len() as u64);
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    if values.len() < 2 {
        return f64::INFINITY;
    }
    // The median of normal values varies 1.253 times as much as their mean.
    2.0 * 1.253 * (squares / (count - 1.0) / count).sqrt()
}

/// Wall-clock time of `work` in milliseconds, and what it gave.
pub(crate) fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let start = Instant::now();
    let done = work()?;
    Ok((milliseconds(start.elapsed()), done))
}

/// A duration in milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A count as a number to calculate with.
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::{median, uncertainty};

    #[test]
    fn few_values_tell_little() {
        assert_eq!(uncertainty(&[1.0]), f64::INFINITY);
        assert_eq!(uncertainty(&[1.0; 9]), 0.0);
        let wide = uncertainty(&[0.9, 1.1, 0.9, 1.1]);
        assert!((0.14..0.15).contains(&wide), "{wide}");
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
