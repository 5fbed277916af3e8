//! The load's transactions around a migration: those that the probes counted beside those that the load reports.

use migration_record::{Tps, Transactions};

/// A second of the load's lasts no longer than this in front of its report, in seconds; what it did not report, it
/// did nothing in.
const SECOND: f64 = 1.0;

/// What both counted between the probes' first answer and their last of those in the load's time; `None` where that is
/// no time at all.
///
/// `reported` are the load's seconds, `counted` when the probes answered and how many commits they had seen by then. One
/// answer before the migration and one after it suffice: the probes go on counting while nobody asks. A second that the
/// edge of the time cuts counts by the part that lies inside.
pub(crate) fn count(reported: &[Tps], counted: &[(f64, u64)]) -> Option<Transactions> {
    let time = reported.first()?.at_s - SECOND..=reported.last()?.at_s;
    let mut both = counted.iter().filter(|(at_s, _)| time.contains(at_s));
    let &(begin, first) = both.next()?;
    let &(end, last) = both.next_back()?;
    let mut by_load = 0.0;
    let mut before = f64::NEG_INFINITY;
    for second in reported {
        // Two reports that came together are two seconds still: the first was late.
        let from = before.max(second.at_s - SECOND).min(second.at_s);
        let length = second.at_s - from;
        let inside = (second.at_s.min(end) - from.max(begin)).max(0.0);
        let part =
            if length > 0.0 { inside / length } else { f64::from(from >= begin && from <= end) };
        by_load += second.tps * SECOND * part;
        before = second.at_s;
    }
    (begin < end).then_some(Transactions {
        seconds: end - begin,
        by_probes: last.saturating_sub(first),
        by_load,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(seconds: &[(f64, f64)]) -> Vec<Tps> {
        seconds.iter().map(|&(at_s, tps)| Tps { at_s, tps, latency_ms: None }).collect()
    }

    #[test]
    fn both_count_the_same_time() {
        let reported =
            reported(&[(0.0, 50.0), (1.0, 100.0), (2.0, 100.0), (3.0, 200.0), (4.0, 80.0)]);
        let found = count(&reported, &[(0.5, 1000), (1.5, 7), (3.5, 1390)]).unwrap();
        assert_eq!((found.seconds, found.by_probes), (3.0, 390));
        assert!((found.by_load - 390.0).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn a_pause_and_a_late_report_lose_nothing() {
        // The VM stood still from 1 to 2.5; the report of the second after came late, together with the next.
        let reported = reported(&[(1.0, 100.0), (3.6, 100.0), (3.6, 100.0), (4.6, 100.0)]);
        let found = count(&reported, &[(0.5, 0), (4.1, 300)]).unwrap();
        assert!((found.by_load - 300.0).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn what_one_of_them_has_not_seen_is_not_compared() {
        let load = reported(&[(1.0, 100.0), (2.0, 100.0)]);
        let counted = [(-0.5, 0), (0.5, 1000), (1.5, 1100), (2.5, 9000)];
        let found = count(&load, &counted).unwrap();
        assert_eq!((found.seconds, found.by_probes, found.by_load), (1.0, 100, 100.0));
        assert_eq!(count(&load, &counted[..2]), None);
        assert_eq!(count(&load, &[(-2.0, 0), (2.5, 200)]), None);
        assert_eq!(count(&[], &[(0.5, 0), (1.5, 90)]), None);
    }
}
