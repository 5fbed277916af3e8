//! Nothing is lost: every event is in the table, every record is in the ring or counted as lost.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use probe_abi::Probe;
use test_servers::{Config, LoadSpec, Script, Server};
use userspace::probes::{ProbeOptions, Probes};
use userspace::residency::Table;
use userspace::server::Server as Observed;
use userspace::target::Target;

use crate::figure::{Figure, Goal};
use crate::fill::status;
use crate::quiet::wait_until_quiet;
use crate::report::Report;
use crate::sample::number;
use crate::scale::Scale;

/// The smallest ring: it holds a few dozen records.
const TINY_RING_BYTES: u32 = 4096;
/// Seldom enough that the ring is full most of the time.
const DRAIN_EVERY: Duration = Duration::from_millis(50);

pub(crate) fn measure(report: &mut Report, scale: &Scale) -> Result<()> {
    if let Err(error) = scale.server.installed() {
        report.skip("losses", error);
        return Ok(());
    }
    let config = Config::new().pool_mib(scale.thrashing_mib).sysbench(scale.data);
    let server = Server::start(scale.server, config)?;
    let observed = Observed::open(Target::of(server.pid())?, &symbols::Options::default())?;
    wait_until_quiet(&observed)?;
    let options = ProbeOptions { ring_bytes: TINY_RING_BYTES, ..ProbeOptions::default() };
    let (mut probes, table) = Probes::attach(
        &observed.target,
        observed.profile(),
        &observed.layout,
        &observed.pool_map,
        options,
    )?;
    let mut ring = probes.take_trace()?;
    probes.set_trace(true)?;
    // At rest, so none of these moves between the readings.
    let (first, written_table) = (probes.counters()?, updates(&table));
    let served = Served::of(&server)?;

    let load = server.load(&LoadSpec::new(Script::ReadWrite, 4).uniform())?;
    let mut records = 0;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(scale.burst_seconds.into()) {
        thread::sleep(DRAIN_EVERY);
        while ring.next().is_some() {
            records += 1;
        }
    }
    load.stop()?;
    wait_until_quiet(&observed)?;
    while ring.next().is_some() {
        records += 1;
    }
    let last = probes.counters()?;
    let grown = |field: fn(&probe_abi::ProbeCounters) -> u64, probe: Probe| {
        field(&last[probe as usize]) - field(&first[probe as usize])
    };
    let sum = |field: fn(&probe_abi::ProbeCounters) -> u64| {
        Probe::ALL.iter().map(|probe| grown(field, *probe)).sum::<u64>()
    };
    let hits = sum(|counters| counters.hits);
    report.add(Figure::truth("burst: hits", number(hits), ""));
    let lost = hits.abs_diff(updates(&table) - written_table);
    report.add(Figure::truth("burst: table updates lost", number(lost), "").goal(Goal::Zero));
    let odd = sum(|counters| counters.foreign + counters.faults);
    report.add(Figure::truth("burst: hits not understood", number(odd), "").goal(Goal::Zero));

    // What the server itself counts, in the very functions that are probed.
    let now = Served::of(&server)?;
    for (name, probe, served) in [
        ("burst: reads that raised no event", Probe::Read, now.read - served.read),
        ("burst: writes that raised no event", Probe::Written, now.written - served.written),
    ] {
        let missed = served.abs_diff(grown(|counters| counters.hits, probe));
        report.add(Figure::truth(name, number(missed), "").goal(Goal::Zero));
    }
    let ring_lost = sum(|counters| counters.ring_lost);
    report.add(Figure::truth("burst: records of a ring of 4 KiB", number(records), ""));
    report.add(Figure::truth("burst: records counted as lost", number(ring_lost), ""));
    let untold = hits.abs_diff(records + ring_lost);
    let name = "burst: hits without record or counted loss";
    report.add(Figure::truth(name, number(untold), "").goal(Goal::Zero));
    Ok(())
}

/// Updates that the table has taken: each moves its entry's sequence number by one.
fn updates(table: &Table) -> u64 {
    (0..table.blocks()).map(|block| u64::from(table.read(block).sequence())).sum()
}

/// Pages that the server says it has moved (`buf_page_io_complete` counts both, buf0buf.cc).
struct Served {
    read: u64,
    written: u64,
}

impl Served {
    fn of(server: &Server) -> Result<Self> {
        Ok(Self {
            read: status(server, "Innodb_pages_read")?,
            written: status(server, "Innodb_pages_written")?,
        })
    }
}
