//! A picture as the host is told of it.

use page_wire::ask::{Blocks, Kinds, Observed, PerSecond, Times};
use probe_abi::Probe;

use crate::model::{Latency, Picture};

/// What of `picture`, taken at `taken_ns`, goes to the host.
pub(super) fn observed(taken_ns: u64, picture: &Picture) -> Observed {
    let totals = picture.totals;
    let hits = |probe: Probe| {
        picture.probes.iter().find(|row| row.name == probe.name()).map_or(0, |row| row.hits)
    };
    Observed {
        taken_ns,
        since_attach_s: picture.since_attach.as_secs_f64(),
        page_size: picture.server.page_size,
        blocks: Blocks {
            free: totals.free,
            clean: totals.clean,
            dirty: totals.dirty,
            io: totals.io,
            ineligible: totals.ineligible,
            other: totals.other,
        },
        events: Kinds {
            reads: hits(Probe::Read),
            writes: hits(Probe::Written),
            evictions: hits(Probe::Free),
            dirtied: hits(Probe::Dirty),
        },
        per_second: PerSecond {
            reads: picture.rates.reads,
            writes: picture.rates.writes,
            evictions: picture.rates.evictions,
            dirtied: picture.rates.dirtied,
        },
        queries: picture.queries.as_ref().map(times),
        commits: picture.commits.as_ref().map(times),
        drift: picture.audit.drift,
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
