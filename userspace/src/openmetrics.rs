//! Snapshots as OpenMetrics text, and the small HTTP server that hands it out.
//!
//! Names start with `poolferry_`, units are base units (seconds, bytes, ratios). Every series of a server has its data
//! directory as a label and, where it has one, its systemd unit, so that it goes on when the server is restarted,
//! whatever other servers there are; two servers with both alike have their process ids as well. The number of time
//! series is bounded whatever a server holds: of its tables, the [`TABLES`] largest by resident bytes have their own,
//! the rest are summed under the table `other` with an empty space.

mod families;
mod server;

#[cfg(test)]
#[path = "openmetrics/tests.rs"]
mod tests;

use std::fmt::{self, Error};
use std::sync::Arc;

use foreign::Text;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::{Registry, Unit};

use crate::model::{Audit, Latency, ProbeRow, Snapshot, TableRow};
use crate::viewer::units::to_f64;

use families::{Families, Labels, ratio};
pub use server::{MetricsError, MetricsServer, SnapshotSource};

/// Tables that have time series of their own.
pub const TABLES: usize = 50;

/// Devices type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The snapshots in the text format of OpenMetrics 1.0, with its end mark. Without one, no server is
/// observed: `poolferry_up` is 0, and there are no figures.
///
/// # Errors
/// None in practice: the text goes to memory. The encoder's own error is passed on all the same.
pub fn encode(snapshots: Vec<Arc<Snapshot>>) -> Result<String, Error> {
    let mut registry = Registry::with_prefix("poolferry");
    registry.register_collector(Box::new(SnapshotsCollector(snapshots)));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

#[derive(Debug)]
struct SnapshotsCollector(Vec<Arc<Snapshot>>);

impl Collector for SnapshotsCollector {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut families = Families(encoder);
        let up = f64::from(u8::from(!self.0.is_empty()));
        families.gauge("up", "Whether a server is observed: 1, or 0 and no figures", None, up)?;
        if self.0.is_empty() {
            return Ok(());
        }
        let servers = labelled(&self.0);
        server(&mut families, &servers)?;
        pool(&mut families, &servers)?;
        tables(&mut families, &servers)?;
        probes(&mut families, &servers)?;
        traffic(&mut families, &servers)?;
        audit(&mut families, &servers)?;
        cost(&mut families, &servers)
    }
}

/// A snapshot, and the labels of all of its series.
struct Labelled<'a> {
    snapshot: &'a Snapshot,
    datadir: String,
    unit: Option<String>,
    /// Its process id, where another has the same labels.
    pid: Option<String>,
}

impl Labelled<'_> {
    /// What stays the same when the server is restarted.
    fn place(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let unit = self.unit.as_deref().map(|unit| ("unit", unit));
        [("datadir", self.datadir.as_str())].into_iter().chain(unit)
    }

    /// Its labels and more.
    fn with<'l>(&'l self, more: &[(&'static str, &'l str)]) -> Labels<'l> {
        let pid = self.pid.as_deref().map(|pid| ("pid", pid));
        self.place().chain(pid).chain(more.iter().copied()).collect()
    }
}

fn labelled(snapshots: &[Arc<Snapshot>]) -> Vec<Labelled<'_>> {
    let is_alike = |one: &Snapshot, other: &Snapshot| {
        (&one.server.datadir, &one.server.unit) == (&other.server.datadir, &other.server.unit)
    };
    let label = |snapshot| {
        let alike = snapshots.iter().filter(|other| is_alike(snapshot, other)).count();
        let server = &snapshot.server;
        Labelled {
            snapshot,
            datadir: server.datadir.to_utf8(),
            unit: server.unit.as_ref().map(Text::to_utf8),
            pid: (alike > 1).then(|| server.pid.to_string()),
        }
    };
    snapshots.iter().map(|snapshot| label(snapshot)).collect()
}

type Servers<'a> = [Labelled<'a>];

/// A gauge with one series a server that has a value; without any there is no such family.
fn gauge(
    families: &mut Families<'_>,
    (name, help, unit): (&str, &str, Option<&Unit>),
    servers: &Servers<'_>,
    value: impl Fn(&Snapshot) -> Option<f64>,
) -> fmt::Result {
    let series = servers.iter().filter_map(|of| Some((of.with(&[]), value(of.snapshot)?)));
    let mut series = series.peekable();
    if series.peek().is_none() {
        return Ok(());
    }
    families.gauges(name, help, unit, series)
}

/// Name, help and value of a family with one series a row.
type Column<Row> = (&'static str, &'static str, fn(&Row) -> u64);

/// A server's own labels, besides those of all series.
fn described(of: &Labelled<'_>) -> [(&'static str, String); 5] {
    let server = &of.snapshot.server;
    [
        ("pid", server.pid.to_string()),
        ("version", server.version.to_utf8()),
        ("program", server.program.to_utf8()),
        ("profile", server.profile.to_utf8()),
        ("user", server.user.to_utf8()),
    ]
}

fn server(families: &mut Families<'_>, servers: &Servers<'_>) -> fmt::Result {
    let described: Vec<_> = servers.iter().map(described).collect();
    let info = servers.iter().zip(&described).map(|(of, described)| {
        let mut labels: Labels<'_> =
            described.iter().map(|(name, value)| (*name, value.as_str())).collect();
        labels.extend(of.place());
        labels
    });
    families.infos("server", "The observed server", info)?;
    let seconds = ("attached", "Time since the probes were attached", Some(&Unit::Seconds));
    gauge(families, seconds, servers, |snapshot| Some(snapshot.since_attach.as_secs_f64()))?;
    let bytes = ("page_size", "Size of an InnoDB page", Some(&Unit::Bytes));
    gauge(families, bytes, servers, |snapshot| Some(f64::from(snapshot.server.page_size)))
}

fn pool(families: &mut Families<'_>, servers: &Servers<'_>) -> fmt::Result {
    let series = servers.iter().flat_map(|of| {
        let totals = &of.snapshot.totals;
        let states = [
            ("free", totals.free),
            ("clean", totals.clean),
            ("dirty", totals.dirty),
            ("io", totals.io),
            ("ineligible", totals.ineligible),
            ("other", totals.other),
        ];
        states.map(|(state, count)| (of.with(&[("state", state)]), to_f64(count)))
    });
    families.gauges("pool_blocks", "Blocks of the buffer pool by state", None, series)?;
    let bytes = Some(&Unit::Bytes);
    let size = ("pool_size", "Frames of the buffer pool", bytes);
    gauge(families, size, servers, |snapshot| Some(to_f64(snapshot.totals.pool_bytes)))?;
    let eligible = ("eligible", "Clean pages that a migration can leave out", bytes);
    gauge(families, eligible, servers, |snapshot| Some(to_f64(snapshot.totals.eligible_bytes)))
}

/// The largest tables of a server with space and name as text, and the rest.
struct Tables<'a> {
    of: &'a Labelled<'a>,
    own: Vec<(&'a TableRow, String, String)>,
    rest: Vec<&'a TableRow>,
}

impl<'a> Tables<'a> {
    fn of(of: &'a Labelled<'a>) -> Self {
        let mut largest: Vec<&TableRow> = of.snapshot.tables.iter().collect();
        largest.sort_by_key(|table| (std::cmp::Reverse(table.resident_bytes), table.space));
        let rest = largest.split_off(largest.len().min(TABLES));
        let named = |table: &'a TableRow| (table, table.space.to_string(), table.name.to_utf8());
        Self { of, own: largest.into_iter().map(named).collect(), rest }
    }

    fn series(&self, value: fn(&TableRow) -> u64) -> impl Iterator<Item = (Labels<'_>, f64)> {
        let own = self.own.iter().map(move |(table, space, name)| {
            let labels = [("space", space.as_str()), ("table", name.as_str())];
            (self.of.with(&labels), to_f64(value(table)))
        });
        let sum = self.rest.iter().map(|table| value(table)).fold(0, u64::saturating_add);
        let other = (self.of.with(&[("space", ""), ("table", "other")]), to_f64(sum));
        own.chain((!self.rest.is_empty()).then_some(other))
    }
}

fn tables(families: &mut Families<'_>, servers: &Servers<'_>) -> fmt::Result {
    let tables: Vec<Tables<'_>> = servers.iter().map(Tables::of).collect();
    let columns: [Column<TableRow>; 4] = [
        ("table_resident", "Pages of the table in the pool", |table| table.resident_bytes),
        ("table_dirty", "Dirty pages of the table", |table| table.dirty_bytes),
        ("table_eligible", "Eligible pages of the table", |table| table.eligible_bytes),
        ("table_file", "Size of the table's files, 0 when unknown", |table| table.file_bytes),
    ];
    for (name, help, value) in columns {
        let series = tables.iter().flat_map(|tables| tables.series(value));
        families.gauges(name, help, Some(&Unit::Bytes), series)?;
    }
    Ok(())
}

const PROBE_HITS: &str = "Events since the probes were set: pages read, pages written, pages made dirty (from clean), \
     pages evicted (a file page left the pool, also by a drop), blocks freed that held no page, client commands, commits, \
     reads that turned out to be bad (they count as read too)";

fn probes(families: &mut Families<'_>, servers: &Servers<'_>) -> fmt::Result {
    let columns: [Column<ProbeRow>; 4] = [
        ("probe_hits", PROBE_HITS, |probe| probe.hits),
        ("trace_lost_records", "Trace records for which the ring had no room", |probe| {
            probe.ring_lost
        }),
        (
            "probe_foreign_hits",
            "Hits of descriptors outside of the known chunks, which are no events",
            |probe| probe.foreign,
        ),
        ("probe_faults", "Hits whose memory could not be read", |probe| probe.faults),
    ];
    for (name, help, value) in columns {
        let series = servers.iter().flat_map(|of| {
            let probes = of.snapshot.probes.iter();
            probes.map(move |probe| (of.with(&[("probe", probe.name.as_str())]), value(probe)))
        });
        families.counters(name, help, series)?;
    }
    Ok(())
}

const PAGES: &str = "Pages read, written, evicted (file pages that left the pool) and made dirty, a second since \
     the last snapshot";
const FREED: &str =
    "Blocks that held no page (memory objects) and were freed, a second since the last snapshot";

fn traffic(families: &mut Families<'_>, servers: &Servers<'_>) -> fmt::Result {
    let series = servers.iter().flat_map(|of| {
        let rates = &of.snapshot.rates;
        let rates = [
            ("read", rates.reads),
            ("write", rates.writes),
            ("evict", rates.evictions),
            ("dirty", rates.dirtied),
        ];
        rates.map(|(operation, rate)| (of.with(&[("operation", operation)]), rate))
    });
    families.gauges("pages_per_second", PAGES, None, series)?;
    let freed = ("blocks_freed_per_second", FREED, None);
    gauge(families, freed, servers, |snapshot| Some(snapshot.rates.freed))?;
    let latencies = |of: fn(&Snapshot) -> Option<&Latency>| {
        servers.iter().filter_map(move |server| Some((server.with(&[]), of(server.snapshot)?)))
    };
    let queries = latencies(|snapshot| snapshot.queries.as_ref());
    families.latencies("query", "Latency of client commands (dispatch_command)", queries)?;
    let commits = latencies(|snapshot| snapshot.commits.as_ref());
    families.latencies(
        "commit",
        "Latency of commits in InnoDB, its own transactions included",
        commits,
    )
}

fn audit(families: &mut Families<'_>, servers: &Servers<'_>) -> fmt::Result {
    let columns: [Column<Audit>; 6] = [
        ("audit_scans", "Whole scans of the descriptors", |audit| audit.scans),
        ("audit_compared_blocks", "Blocks compared", |audit| audit.compared),
        ("audit_transient_blocks", "Blocks with an event in flight", |audit| audit.transient),
        ("audit_drift_blocks", "Blocks whose update was lost", |audit| audit.drift),
        ("audit_falsely_clean_blocks", "Blocks wrongly held clean", |audit| audit.falsely_clean),
        ("audit_repaired_blocks", "Blocks repaired", |audit| audit.repaired),
    ];
    for (name, help, value) in columns {
        let series = servers.iter().map(|of| (of.with(&[]), value(&of.snapshot.audit)));
        families.counters(name, help, series)?;
    }
    Ok(())
}

fn cost(families: &mut Families<'_>, servers: &Servers<'_>) -> fmt::Result {
    let ratio = ratio();
    let cpu = ("bpf_cpu", "Share of one CPU in the eBPF programs", Some(&ratio));
    gauge(families, cpu, servers, |snapshot| snapshot.cost.bpf_cpu)?;
    let run = ("bpf_run", "Mean run time of an eBPF program", Some(&Unit::Seconds));
    gauge(families, run, servers, |snapshot| Some(snapshot.cost.bpf_ns_per_run? / 1e9))?;
    let maps = ("bpf_maps", "Kernel memory of the eBPF maps", Some(&Unit::Bytes));
    gauge(families, maps, servers, |snapshot| Some(to_f64(snapshot.cost.map_bytes)))?;
    // These are of the agent, whatever servers it has.
    let Some(of) = servers.first() else { return Ok(()) };
    let cost = &of.snapshot.cost;
    families.gauge("agent_cpu", "Share of one CPU in the agent", Some(&ratio), cost.agent_cpu)?;
    let bytes = Some(&Unit::Bytes);
    families.gauge(
        "agent_resident",
        "Memory of the agent and of the processes that hold its probes",
        bytes,
        to_f64(cost.agent_rss),
    )
}
