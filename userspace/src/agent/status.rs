//! Snapshots as the host gets them.

use page_wire::protocol::{Blocks, Kinds, Observed, PerSecond, Times};
use probe_abi::Probe;

use crate::model::{Latency, Snapshot};

/// What of `snapshot`, taken at `taken_ns`, goes to the host.
pub(super) fn observed(taken_ns: u64, snapshot: &Snapshot) -> Observed {
    let totals = snapshot.totals;
    let hits = |probe: Probe| {
        snapshot.probes.iter().find(|row| row.name == probe.name()).map_or(0, |row| row.hits)
    };
    Observed {
        taken_ns,
        since_attach_s: snapshot.since_attach.as_secs_f64(),
        page_size: snapshot.server.page_size,
        blocks: Blocks {
            free: totals.free,
            clean: totals.clean,
            dirty: totals.dirty,
            io: totals.io,
            ineligible: totals.ineligible,
            other: totals.other,
        },
        events: Kinds {
            reads: hits(Probe::Read).saturating_sub(hits(Probe::ReadFailed)),
            writes: hits(Probe::Written),
            evictions: hits(Probe::Evicted),
            dirtied: hits(Probe::Dirty),
        },
        per_second: PerSecond {
            reads: snapshot.rates.reads,
            writes: snapshot.rates.writes,
            evictions: snapshot.rates.evictions,
            dirtied: snapshot.rates.dirtied,
        },
        queries: snapshot.queries.as_ref().map(times),
        commits: snapshot.commits.as_ref().map(times),
        drift: snapshot.audit.drift,
    }
}

/// Of all servers together, in pages of the smallest size; `None` without any.
pub(super) fn sum<'a>(all: impl Iterator<Item = &'a Observed> + Clone) -> Option<Observed> {
    let page_size = all.clone().map(|observed| observed.page_size).min()?;
    all.map(|observed| in_pages_of(observed, page_size)).reduce(|one, other| Observed {
        // Counters of a server that has come later began later.
        taken_ns: one.taken_ns.max(other.taken_ns),
        since_attach_s: one.since_attach_s.max(other.since_attach_s),
        page_size,
        blocks: Blocks {
            free: one.blocks.free + other.blocks.free,
            clean: one.blocks.clean + other.blocks.clean,
            dirty: one.blocks.dirty + other.blocks.dirty,
            io: one.blocks.io + other.blocks.io,
            ineligible: one.blocks.ineligible + other.blocks.ineligible,
            other: one.blocks.other + other.blocks.other,
        },
        events: Kinds {
            reads: one.events.reads + other.events.reads,
            writes: one.events.writes + other.events.writes,
            evictions: one.events.evictions + other.events.evictions,
            dirtied: one.events.dirtied + other.events.dirtied,
        },
        per_second: PerSecond {
            reads: one.per_second.reads + other.per_second.reads,
            writes: one.per_second.writes + other.per_second.writes,
            evictions: one.per_second.evictions + other.per_second.evictions,
            dirtied: one.per_second.dirtied + other.per_second.dirtied,
        },
        queries: both(one.queries, other.queries),
        commits: both(one.commits, other.commits),
        drift: one.drift + other.drift,
    })
}

/// The same in pages of another size, of which its own is a multiple: page sizes are powers of two.
fn in_pages_of(observed: &Observed, page_size: u32) -> Observed {
    let times = observed.page_size.checked_div(page_size).unwrap_or(1).max(1);
    let (count, rate) =
        (|count: u64| count * u64::from(times), |rate: f64| rate * f64::from(times));
    let Observed { blocks, events, per_second, .. } = *observed;
    Observed {
        blocks: Blocks {
            free: count(blocks.free),
            clean: count(blocks.clean),
            dirty: count(blocks.dirty),
            io: count(blocks.io),
            ineligible: count(blocks.ineligible),
            other: count(blocks.other),
        },
        events: Kinds {
            reads: count(events.reads),
            writes: count(events.writes),
            evictions: count(events.evictions),
            dirtied: count(events.dirtied),
        },
        per_second: PerSecond {
            reads: rate(per_second.reads),
            writes: rate(per_second.writes),
            evictions: rate(per_second.evictions),
            dirtied: rate(per_second.dirtied),
        },
        drift: count(observed.drift),
        ..observed.clone()
    }
}

/// Of two servers; quantiles are those of the slower one, which are bounds for both.
fn both(one: Option<Times>, other: Option<Times>) -> Option<Times> {
    match (one, other) {
        (Some(one), Some(other)) => Some(Times {
            count: one.count + other.count,
            sum_ns: one.sum_ns.saturating_add(other.sum_ns),
            rate: one.rate + other.rate,
            p50_ns: one.p50_ns.max(other.p50_ns),
            p95_ns: one.p95_ns.max(other.p95_ns),
            p99_ns: one.p99_ns.max(other.p99_ns),
        }),
        (one, other) => one.or(other),
    }
}

fn times(latency: &Latency) -> Times {
    Times {
        count: latency.count,
        sum_ns: latency.sum_ns,
        rate: latency.rate,
        p50_ns: latency.p50_ns,
        p95_ns: latency.p95_ns,
        p99_ns: latency.p99_ns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(page_size: u32, clean: u64, commits: Option<u64>) -> Observed {
        Observed {
            taken_ns: u64::from(page_size),
            since_attach_s: 1.0,
            page_size,
            blocks: Blocks { clean, ..Blocks::default() },
            events: Kinds { reads: 10, ..Kinds::default() },
            per_second: PerSecond { reads: 0.5, ..PerSecond::default() },
            queries: None,
            commits: commits.map(|count| Times { count, p50_ns: count, ..Times::default() }),
            drift: 0,
        }
    }

    #[test]
    fn one_server_is_its_own_sum() {
        let one = observed(16384, 7, Some(3));
        assert_eq!(sum([&one].into_iter()), Some(one.clone()));
        assert_eq!(sum([].into_iter()), None);
    }

    #[test]
    fn pages_of_different_sizes_are_counted_in_the_smallest() {
        let servers =
            [observed(16384, 7, Some(3)), observed(4096, 1, None), observed(8192, 0, Some(9))];
        let all = sum(servers.iter()).unwrap();
        assert_eq!((all.page_size, all.blocks.clean, all.events.reads), (4096, 29, 70));
        assert!((all.per_second.reads - 3.5).abs() < 1e-9);
        let commits = all.commits.unwrap();
        assert_eq!((commits.count, commits.p50_ns), (12, 9));
    }
}
