//! What a migration does to the load: how deep, how long, and when it is over.

use serde::Serialize;

use migration_record::{Report, Tps, approximate};

/// A load is back when it does so much of what it did before.
const BACK: f64 = 0.95;
/// The span of one report.
const SECOND: f64 = 1.0;

/// The load around a migration, by transactions per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Dip {
    /// Median before the command that migrates; the mean of a load of less than a transaction in most seconds.
    pub before_tps: f64,
    /// Lowest second from the command on, as a share of that.
    pub lowest: f64,
    /// Seconds below 95 % of it, those among them without a report of the load.
    pub below_95_s: f64,
    /// From QEMU's `migrate` to the first second after the migration that is back at 95 %; `null`:
    /// not while it was looked at.
    pub back_at_95_s: Option<f64>,
    /// Transactions missing from the command until then, in seconds of the load before.
    pub lost_s: f64,
}

impl Dip {
    /// From the seconds of one run; `None` where it had no load.
    ///
    /// A guest that stands still reports nothing, and its clock stands still with it: time between two reports that
    /// none of the reported seconds accounts for is time in which nothing was done.
    #[must_use]
    pub fn of(run: &Report) -> Option<Self> {
        // What comes before QEMU's own clock is part of the migration.
        let begin = run.command_s.map_or(0.0, |command_s| (run.total_time_s - command_s).min(0.0));
        let split = run.tps.iter().position(|second| second.at_s > begin)?;
        let (before, after) = run.tps.split_at(split);
        let last_before = before.last()?.at_s;
        let mut before: Vec<f64> = before.iter().map(|second| second.tps).collect();
        before.sort_by(f64::total_cmp);
        let median = before.get(before.len() / 2).copied().unwrap_or(0.0);
        let mean = before.iter().sum::<f64>() / approximate(before.len() as u64);
        let before_tps = [median, mean].into_iter().find(|tps| *tps > 0.0)?;
        let is_back = |second: &Tps| second.tps >= BACK * before_tps;
        let back =
            after.iter().position(|second| second.at_s > run.total_time_s && is_back(second));
        let until = &after[..back.unwrap_or(after.len())];
        let end = back.map_or(after.last()?.at_s, |back| after[back].at_s);
        // The second that is back accounts for itself.
        let rounding = approximate(until.len() as u64 + u64::from(back.is_some()));
        let silent_s = (end - last_before - rounding).max(0.0);
        let lowest = after.iter().map(|second| second.tps).reduce(f64::min)?;
        let low = approximate(until.iter().filter(|second| !is_back(second)).count() as u64);
        let missing = until.iter().map(|second| (before_tps - second.tps).max(0.0) / before_tps);
        Some(Self {
            before_tps,
            lowest: if silent_s >= SECOND { 0.0 } else { lowest / before_tps },
            below_95_s: low + silent_s,
            back_at_95_s: back.map(|back| after[back].at_s),
            lost_s: missing.sum::<f64>() + silent_s,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn run(seconds: &[(f64, f64)], command_s: f64, total_time_s: f64) -> Report {
        let tps = |&(at_s, tps): &(f64, f64)| Tps { at_s, tps, latency_ms: None };
        let tps = seconds.iter().map(tps).collect();
        Report { tps, command_s: Some(command_s), total_time_s, ..Report::default() }
    }

    #[test]
    fn a_vm_that_stands_still_reports_nothing_and_loses_all() {
        // Reports come late, and two at a time: only the five seconds without any are lost.
        let seconds =
            [(-1.0, 80.0), (0.0, 80.0), (1.3, 80.0), (2.0, 80.0), (8.0, 80.0), (8.0, 80.0)];
        let dip = Dip::of(&run(&seconds, 6.5, 6.5)).unwrap();
        assert_eq!((dip.lowest, dip.back_at_95_s), (0.0, Some(8.0)));
        assert!((dip.lost_s - 5.0).abs() < 1e-9, "{dip:?}");
        assert!((dip.below_95_s - 5.0).abs() < 1e-9, "{dip:?}");
    }

    #[test]
    fn a_load_of_less_than_a_transaction_a_second_is_one() {
        let seconds = [(-3.0, 0.0), (-2.0, 1.0), (-1.0, 0.0), (0.0, 0.0), (1.0, 0.0), (2.0, 1.0)];
        let dip = Dip::of(&run(&seconds, 1.5, 1.5)).unwrap();
        assert_eq!((dip.before_tps, dip.lowest, dip.back_at_95_s), (0.25, 0.0, Some(2.0)));
        let none = seconds.map(|(at_s, _)| (at_s, 0.0));
        assert_eq!(Dip::of(&run(&none, 1.5, 1.5)), None);
    }

    #[test]
    fn what_comes_before_qemus_clock_is_part_of_the_migration() {
        // A server that was restarted first, and is back while QEMU migrates.
        let seconds =
            [(-11.0, 50.0), (-10.0, 50.0), (-1.0, 10.0), (0.0, 20.0), (1.0, 50.0), (2.0, 50.0)];
        let dip = Dip::of(&run(&seconds, 11.5, 1.5)).unwrap();
        assert_eq!((dip.before_tps, dip.back_at_95_s), (50.0, Some(2.0)));
        // Eight seconds without a report, 0.8 and 0.6 of two more.
        assert!((dip.lost_s - 9.4).abs() < 1e-9, "{dip:?}");
    }
}
