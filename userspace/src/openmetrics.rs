//! A picture as OpenMetrics text, and the small HTTP server that hands it out.
//!
//! Names start with `poolferry_`, units are base units (seconds, bytes, ratios). The number of time
//! series is bounded whatever the server holds: of the tables, the [`TABLES`] largest by resident
//! bytes have their own, the rest are summed under the table `other` with an empty space.

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

use crate::model::{Picture, ProbeRow, TableRow};
use crate::viewer::units::to_f64;

use families::{Families, ratio};
pub use server::{MetricsError, MetricsServer};

/// Tables that have time series of their own.
pub const TABLES: usize = 50;

/// Media type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The picture in the text format of OpenMetrics 1.0, with its end mark. Without one, no server is
/// observed: `poolferry_up` says so, and there are no figures.
///
/// # Errors
/// None in practice: the text goes to memory. The encoder's own error is passed on all the same.
pub fn encode(picture: Option<Arc<Picture>>) -> Result<String, Error> {
    let mut registry = Registry::with_prefix("poolferry");
    registry.register_collector(Box::new(PictureCollector(picture)));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

#[derive(Debug)]
struct PictureCollector(Option<Arc<Picture>>);

impl Collector for PictureCollector {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut families = Families(encoder);
        let up = f64::from(u8::from(self.0.is_some()));
        families.gauge("up", "Whether a server is observed: 1, or 0 and no figures", None, up)?;
        let Some(picture) = self.0.as_deref() else { return Ok(()) };
        server(&mut families, picture)?;
        pool(&mut families, picture)?;
        tables(&mut families, &picture.tables)?;
        probes(&mut families, picture)?;
        traffic(&mut families, picture)?;
        audit(&mut families, picture)?;
        cost(&mut families, picture)
    }
}

/// Name, help and value of a family with one series a row.
type Column<Row> = (&'static str, &'static str, fn(&Row) -> u64);

fn server(families: &mut Families<'_>, picture: &Picture) -> fmt::Result {
    let server = &picture.server;
    let pid = server.pid.to_string();
    let told = [&server.version, &server.program, &server.datadir, &server.profile];
    let [version, program, datadir, profile] = told.map(Text::to_utf8);
    let labels = vec![
        ("pid", pid.as_str()),
        ("version", &version),
        ("program", &program),
        ("datadir", &datadir),
        ("profile", &profile),
    ];
    families.info("server", "The observed server", &labels)?;
    let attached = picture.since_attach.as_secs_f64();
    families.gauge(
        "attached",
        "Time since the probes were attached",
        Some(&Unit::Seconds),
        attached,
    )?;
    let page_size = f64::from(server.page_size);
    families.gauge("page_size", "Size of an InnoDB page", Some(&Unit::Bytes), page_size)
}

fn pool(families: &mut Families<'_>, picture: &Picture) -> fmt::Result {
    let totals = &picture.totals;
    let states = [
        ("free", totals.free),
        ("clean", totals.clean),
        ("dirty", totals.dirty),
        ("io", totals.io),
        ("ineligible", totals.ineligible),
        ("other", totals.other),
    ];
    let series = states.map(|(state, count)| (vec![("state", state)], to_f64(count)));
    families.gauges("pool_blocks", "Blocks of the buffer pool by state", None, series)?;
    let bytes = Some(&Unit::Bytes);
    families.gauge("pool_size", "Frames of the buffer pool", bytes, to_f64(totals.pool_bytes))?;
    let eligible = to_f64(totals.eligible_bytes);
    families.gauge("eligible", "What a migration can leave out", bytes, eligible)
}

fn tables(families: &mut Families<'_>, tables: &[TableRow]) -> fmt::Result {
    let mut largest: Vec<&TableRow> = tables.iter().collect();
    largest.sort_by_key(|table| (std::cmp::Reverse(table.resident_bytes), table.space));
    let (own, rest) = largest.split_at(largest.len().min(TABLES));
    let names: Vec<(String, String)> =
        own.iter().map(|table| (table.space.to_string(), table.name.to_utf8())).collect();
    let columns: [Column<TableRow>; 4] = [
        ("table_resident", "Pages of the table in the pool", |table| table.resident_bytes),
        ("table_dirty", "Dirty pages of the table", |table| table.dirty_bytes),
        ("table_eligible", "Eligible pages of the table", |table| table.eligible_bytes),
        ("table_file", "Size of the table's files, 0 when unknown", |table| table.file_bytes),
    ];
    for (name, help, value) in columns {
        let own = own.iter().zip(&names).map(|(table, (space, name))| {
            (vec![("space", space.as_str()), ("table", name.as_str())], to_f64(value(table)))
        });
        let sum = rest.iter().map(|table| value(table)).fold(0, u64::saturating_add);
        let other = (vec![("space", ""), ("table", "other")], to_f64(sum));
        let other = (!rest.is_empty()).then_some(other);
        families.gauges(name, help, Some(&Unit::Bytes), own.chain(other))?;
    }
    Ok(())
}

fn probes(families: &mut Families<'_>, picture: &Picture) -> fmt::Result {
    let columns: [Column<ProbeRow>; 4] = [
        ("probe_hits", "Hits of the probe", |probe| probe.hits),
        ("trace_lost_records", "Trace records lost", |probe| probe.ring_lost),
        ("probe_foreign_hits", "Hits outside of the known chunks", |probe| probe.foreign),
        ("probe_faults", "Hits whose memory could not be read", |probe| probe.faults),
    ];
    for (name, help, value) in columns {
        let series = picture.probes.iter().map(|p| (vec![("probe", p.name.as_str())], value(p)));
        families.counters(name, help, series)?;
    }
    Ok(())
}

fn traffic(families: &mut Families<'_>, picture: &Picture) -> fmt::Result {
    let rates = &picture.rates;
    let rates = [
        ("read", rates.reads),
        ("write", rates.writes),
        ("evict", rates.evictions),
        ("dirty", rates.dirtied),
    ];
    let series = rates.map(|(operation, rate)| (vec![("operation", operation)], rate));
    families.gauges("pages_per_second", "Page traffic since the last picture", None, series)?;
    if let Some(queries) = &picture.queries {
        families.latency("query", "Latency of client commands", queries)?;
    }
    if let Some(commits) = &picture.commits {
        families.latency("commit", "Latency of commits", commits)?;
    }
    Ok(())
}

fn audit(families: &mut Families<'_>, picture: &Picture) -> fmt::Result {
    let audit = &picture.audit;
    families.counter("audit_scans", "Whole scans of the descriptors", audit.scans)?;
    families.counter("audit_compared_blocks", "Blocks compared", audit.compared)?;
    families.counter(
        "audit_transient_blocks",
        "Blocks with an event in flight",
        audit.transient,
    )?;
    families.counter("audit_drift_blocks", "Blocks whose update was lost", audit.drift)?;
    let clean = audit.falsely_clean;
    families.counter("audit_falsely_clean_blocks", "Blocks wrongly held clean", clean)?;
    families.counter("audit_repaired_blocks", "Blocks repaired", audit.repaired)
}

fn cost(families: &mut Families<'_>, picture: &Picture) -> fmt::Result {
    let (cost, ratio) = (&picture.cost, ratio());
    if let Some(share) = cost.bpf_cpu {
        families.gauge("bpf_cpu", "Share of one CPU in the eBPF programs", Some(&ratio), share)?;
    }
    if let Some(ns) = cost.bpf_ns_per_run {
        let seconds = Some(&Unit::Seconds);
        families.gauge("bpf_run", "Mean run time of an eBPF program", seconds, ns / 1e9)?;
    }
    let agent = cost.agent_cpu;
    families.gauge("agent_cpu", "Share of one CPU in the agent", Some(&ratio), agent)?;
    let bytes = Some(&Unit::Bytes);
    families.gauge("agent_resident", "Memory of the agent", bytes, to_f64(cost.agent_rss))?;
    families.gauge("bpf_maps", "Kernel memory of the eBPF maps", bytes, to_f64(cost.map_bytes))
}
