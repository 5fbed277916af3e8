//! What the agent shows: one immutable snapshot of the pool, drawn by the viewer, streamed as records
//! and exported as metrics. Plain data; a reader holds no lock of the collector.

use std::time::Duration;

use foreign::Text;
use serde::Serialize;

/// One snapshot of the observed pool, taken every refresh interval.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// Time since the agent attached.
    #[serde(serialize_with = "seconds")]
    pub since_attach: Duration,
    /// The server.
    pub server: ServerInfo,
    /// One cell a block in pool order; empty where the map was not requested.
    #[serde(skip)]
    pub cells: Vec<Cell>,
    /// Blocks and bytes by state.
    pub totals: Totals,
    /// Resident pages by table, unsorted.
    pub tables: Vec<TableRow>,
    /// One row a probe.
    pub probes: Vec<ProbeRow>,
    /// Page traffic since the last snapshot.
    pub rates: Rates,
    /// Latency of client commands, when requested.
    pub queries: Option<Latency>,
    /// Latency of commits, when requested.
    pub commits: Option<Latency>,
    /// The result of the audit of table against descriptors.
    pub audit: Audit,
    /// What observing costs.
    pub cost: Cost,
    /// The newest trace events, oldest first; empty while tracing is off. Records of their own.
    #[serde(skip)]
    pub events: Vec<TraceEvent>,
    /// Number of the first of `events` among all trace events since attach, lost ones included: what is between the
    /// events of one snapshot and those of the next are events that are in none.
    #[serde(skip)]
    pub first_event: u64,
    /// Things that the operator should know (`pool is being resized`, `server has exited`, ...).
    pub notices: Vec<Text>,
}

/// The observed server.
#[derive(Clone, Debug, Serialize)]
pub struct ServerInfo {
    /// Process id, as the observer sees it.
    pub pid: u32,
    /// Family and version, e.g. `mysql 5.6.24`.
    pub version: Text,
    /// Program file, as the server's own namespace names it.
    pub program: Text,
    /// Data directory, likewise.
    pub datadir: Text,
    /// Account that it runs as.
    pub user: Text,
    /// Its systemd unit, where it has one.
    pub unit: Option<Text>,
    /// Where the profile came from, in words.
    pub profile: Text,
    /// InnoDB page size in bytes.
    pub page_size: u32,
    /// Buffer-pool instances.
    pub instances: u32,
    /// Chunks over all instances.
    pub chunks: u32,
    /// Blocks over all chunks.
    pub blocks: u64,
}

/// State of one block as the map colours it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Cell {
    /// On the free list.
    Free,
    /// Clean and eligible to be left out of a migration.
    Clean,
    /// Modified since it was last written.
    Dirty,
    /// Being read or written.
    Io,
    /// A page that stays in the migration for another reason.
    Ineligible,
    /// Not a page: hash index, lock heap, compressed copies.
    Other,
}

/// Blocks by state; a block is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Free blocks.
    pub free: u64,
    /// Clean, eligible pages.
    pub clean: u64,
    /// Dirty pages.
    pub dirty: u64,
    /// Pages under I/O.
    pub io: u64,
    /// Pages that are not eligible for another reason.
    pub ineligible: u64,
    /// Blocks that hold no page.
    pub other: u64,
    /// Bytes that a migration can leave out (`clean` times the page size).
    pub eligible_bytes: u64,
    /// Bytes of all frames.
    pub pool_bytes: u64,
}

/// Resident pages of one tablespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableRow {
    /// Space id.
    pub space: u32,
    /// `database/table`, or the file's name, or `space N` when no file is known.
    pub name: Text,
    /// Bytes resident.
    pub resident_bytes: u64,
    /// Bytes dirty.
    pub dirty_bytes: u64,
    /// Bytes eligible.
    pub eligible_bytes: u64,
    /// Size of the file(s) in bytes, 0 when unknown.
    pub file_bytes: u64,
}

/// Counters of one probe.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProbeRow {
    /// Name of the event.
    pub name: String,
    /// Hits since attach.
    pub hits: u64,
    /// Hits a second since the last snapshot.
    pub rate: f64,
    /// Trace records lost since attach (the residency table loses nothing).
    pub ring_lost: u64,
    /// Hits on descriptors outside the known chunks.
    pub foreign: u64,
    /// Hits whose memory could not be read.
    pub faults: u64,
}

/// Page traffic a second since the last snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Pages read from disk (`Innodb_pages_read`, but for reads that ended badly).
    pub reads: f64,
    /// Pages written (`Innodb_pages_written`).
    pub writes: f64,
    /// File pages that left the pool: evicted, dropped with their table, or discarded.
    pub evictions: f64,
    /// Pages that became dirty: from clean, not every change of a page.
    pub dirtied: f64,
    /// Blocks that held no page and went back to the free list (memory objects: lock and hash index heaps,
    /// compressed frames, sort and load buffers).
    pub freed: f64,
}

/// Latency of one kind of operation since the last snapshot.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Operations a second.
    pub rate: f64,
    /// Mean in ns.
    pub mean_ns: f64,
    /// Upper bound of the bucket that holds the median, in ns.
    pub p50_ns: u64,
    /// Likewise for 95 %.
    pub p95_ns: u64,
    /// Likewise for 99 %.
    pub p99_ns: u64,
    /// Counts by power of two of ns since attach.
    pub buckets: Vec<u64>,
    /// Number of operations since attach.
    pub count: u64,
    /// Sum of the latencies since attach in ns.
    pub sum_ns: u64,
}

/// Agreement of the residency table with fresh scans of the descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Whole scans made.
    pub scans: u64,
    /// Blocks compared.
    pub compared: u64,
    /// Blocks that differed at first sight and agreed when looked at again: events in flight.
    pub transient: u64,
    /// Blocks that still differed: lost updates. Repaired, and shown in red.
    pub drift: u64,
    /// Of these, blocks that the table called clean and the descriptor did not.
    pub falsely_clean: u64,
    /// Blocks repaired.
    pub repaired: u64,
}

/// What observing costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Share of one CPU spent inside the eBPF programs since the last snapshot (0..1 and above).
    /// `None` where the kernel's statistics could not be switched on.
    pub bpf_cpu: Option<f64>,
    /// Mean run time of one program run in ns since the last snapshot.
    pub bpf_ns_per_run: Option<f64>,
    /// Share of one CPU that the agent used since the last snapshot.
    pub agent_cpu: f64,
    /// Resident memory of the agent and its keepers in bytes, the mapped residency table included.
    pub agent_rss: u64,
    /// Kernel memory of the maps in bytes.
    pub map_bytes: u64,
}

/// One trace event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TraceEvent {
    /// CLOCK_MONOTONIC in ns.
    pub time_ns: u64,
    /// Name of the probe.
    pub probe: &'static str,
    /// Server thread.
    pub tid: u32,
    /// Block index, or the command number of a query.
    pub block: u32,
    /// Space id, where the event is of a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub space: Option<u32>,
    /// Page number, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// Latency in ns (queries and commits).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ns: Option<u64>,
    /// Physical frame number, where the walk was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pfn: Option<u64>,
}

fn seconds<S: serde::Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(value.as_secs_f64())
}
