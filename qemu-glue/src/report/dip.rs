//! What a migration does to the load: how deep, how long, and when it is over.

use serde::Serialize;

use super::Report;

/// A load is back when it does so much of what it did before.
const BACK: f64 = 0.95;

/// The load around a migration, by transactions per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Dip {
    /// Median before the migration.
    pub before_tps: f64,
    /// Lowest second from the `migrate` command on, as a share of that.
    pub lowest: f64,
    /// Seconds below 95 % of it.
    pub below_95_s: f64,
    /// From the `migrate` command to the first second after the migration that is back at 95 %; `null`:
    /// not while it was looked at.
    pub back_at_95_s: Option<f64>,
    /// Transactions missing until then, in seconds of the load before.
    pub lost_s: f64,
}

impl Dip {
    /// From the seconds of one run; `None` where it had no load.
    #[must_use]
    pub fn of(run: &Report) -> Option<Self> {
        let mut before: Vec<f64> =
            run.tps.iter().filter(|second| second.at_s <= 0.0).map(|second| second.tps).collect();
        before.sort_by(f64::total_cmp);
        let before_tps = *before.get(before.len() / 2).filter(|tps| **tps > 0.0)?;
        let after: Vec<_> = run.tps.iter().filter(|second| second.at_s > 0.0).collect();
        let lowest = after.iter().map(|second| second.tps).reduce(f64::min)?;
        let back = after
            .iter()
            .find(|second| second.at_s > run.total_time_s && second.tps >= BACK * before_tps);
        let end = back.map_or(f64::INFINITY, |second| second.at_s);
        let until = || after.iter().filter(|second| second.at_s < end);
        let count = u32::try_from(until().filter(|second| second.tps < BACK * before_tps).count());
        let missing = until().map(|second| (before_tps - second.tps).max(0.0) / before_tps);
        Some(Self {
            before_tps,
            lowest: lowest / before_tps,
            below_95_s: f64::from(count.unwrap_or(u32::MAX)),
            back_at_95_s: back.map(|second| second.at_s),
            lost_s: missing.sum(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Tps;

    #[test]
    fn depth_length_and_end_of_a_dip() {
        let tps =
            |(second, tps): (i32, f64)| Tps { at_s: f64::from(second), tps, latency_ms: None };
        let seconds =
            [(-2, 90.0), (-1, 100.0), (0, 110.0), (1, 50.0), (2, 99.0), (3, 0.0), (4, 96.0)];
        let run = Report {
            tps: seconds.into_iter().map(tps).collect(),
            total_time_s: 2.5,
            ..Report::default()
        };
        let dip = Dip::of(&run).unwrap();
        assert_eq!((dip.before_tps, dip.lowest, dip.below_95_s), (100.0, 0.0, 2.0));
        assert_eq!(dip.back_at_95_s, Some(4.0));
        assert!((dip.lost_s - 1.51).abs() < 1e-9, "{dip:?}");
        assert_eq!(Dip::of(&Report::default()), None);
    }
}
