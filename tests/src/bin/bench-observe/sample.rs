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

/// A quarter of the values are lower: the time of a short work that others of the machine can only make longer.
pub(crate) fn lower_quartile(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 4).copied().unwrap_or(f64::NAN)
}

/// The mean without the highest and the lowest tenth, and two standard errors of it (Yuen's, from what is left
/// with the rest pulled in). A machine that was taken away for a moment makes a few values that mean nothing.
pub(crate) fn trimmed(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let cut = sorted.len() / 10;
    let kept = &sorted[cut..sorted.len() - cut];
    let (Some(lowest), Some(highest)) = (kept.first(), kept.last()) else {
        return (f64::NAN, f64::INFINITY);
    };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / number(values.len() as u64);
    let estimate = mean(kept);
    if kept.len() < 2 {
        return (estimate, f64::INFINITY);
    }
    let pulled: Vec<f64> = sorted.iter().map(|value| value.clamp(*lowest, *highest)).collect();
    let centre = mean(&pulled);
    let squares: f64 = pulled.iter().map(|value| (value - centre).powi(2)).sum();
    let left = number(kept.len() as u64);
    (estimate, 2.0 * (squares / (left * (left - 1.0))).sqrt())
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
    use super::{lower_quartile, median, trimmed};

    #[test]
    fn few_values_tell_little() {
        assert_eq!(trimmed(&[1.0]), (1.0, f64::INFINITY));
        assert!(trimmed(&[]).0.is_nan());
        assert_eq!(trimmed(&[1.0; 9]), (1.0, 0.0));
        let (mean, wide) = trimmed(&[0.9, 1.1, 0.9, 1.1]);
        assert!((mean - 1.0).abs() < 1e-12 && (0.11..0.12).contains(&wide), "{mean} {wide}");
    }

    #[test]
    fn a_value_out_of_all_proportion_changes_little() {
        let mut values = vec![0.98, 1.02, 0.99, 1.01, 1.0, 0.98, 1.02, 0.99, 1.01, 1.0];
        let (before, _) = trimmed(&values);
        values[4] = 20.0;
        let (mean, wide) = trimmed(&values);
        assert!((mean - before).abs() < 0.01 && wide < 0.02, "{mean} {wide}");
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
        assert_eq!(lower_quartile(&[5.0, 9.0, 1.0, 2.0, 7.0]), 2.0);
        assert!(lower_quartile(&[]).is_nan());
    }
}
