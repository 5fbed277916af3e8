//! TPS of a server whose pool thrashes: without probes, with ours, with empty ones and with bpftrace's, in stretches
//! one after the other. What our programs cost beyond an empty one is [`crate::twins`]' to say, as it sees less of
//! what happens to the machine.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use test_servers::{Config, Load, LoadSpec, Script, Server};
use userspace::probes::{ProbeOptions, Probes, RESIDENCY_EVENTS};
use userspace::residency::Table;
use userspace::server::Server as Observed;
use userspace::target::Target;

use crate::bpftrace::Bpftrace;
use crate::figure::Figure;
use crate::report::Report;
use crate::sample::{median, number, trimmed};
use crate::scale::Scale;

/// Connections: as many as keep two CPUs busy between sysbench and the server.
const THREADS: u32 = 2;
/// What the load gets to settle in after a change.
pub(crate) const SETTLE: Duration = Duration::from_millis(300);
/// Seconds before the first stretch.
pub(crate) const WARM_UP: usize = 4;

/// What is attached during a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Without,
    Probes,
    Empty,
    Bpftrace,
}

/// Holds the probes of a stretch in place.
pub(crate) enum Attached {
    Nothing,
    Ours(Box<Probes>, #[expect(dead_code, reason = "held as an agent holds it")] Table),
    Peer(#[expect(dead_code, reason = "detaches when dropped")] Bpftrace),
}

/// What a stretch gave.
struct Stretch {
    way: Way,
    tps: f64,
}

pub(crate) fn measure(report: &mut Report, scale: &Scale) -> Result<()> {
    if let Err(error) = scale.server.installed() {
        report.skip("overhead", error);
        return Ok(());
    }
    let config = Config::new().pool_mib(scale.thrashing_mib).sysbench(scale.data);
    let server = Server::start(scale.server, config)?;
    let data = data_bytes(&server)? / number(scale.thrashing_mib << 20);
    report.add(Figure::cost("thrashing: data beside the pool", data, "x"));
    let target = Target::of(server.pid())?;
    let observed = Observed::open(target, &symbols::Options::default())?;
    for (name, workload) in [
        ("thrashing, read-only, in turns", Script::ReadOnly),
        ("thrashing, read-write, in turns", Script::ReadWrite),
    ] {
        let ways = ways(report, name, &server, &observed);
        let stretches = run(&server, &observed, workload, &ways, scale)?;
        report_on(report, name, &ways, &stretches);
    }
    Ok(())
}

fn data_bytes(server: &Server) -> Result<f64> {
    let mut bytes = 0;
    for file in std::fs::read_dir(server.datadir().join("sbtest"))? {
        let file = file?;
        if file.path().extension().is_some_and(|extension| extension == "ibd") {
            bytes += file.metadata()?.len();
        }
    }
    Ok(number(bytes))
}

/// The ways to compare; one load with bpftrace is enough.
fn ways(report: &mut Report, name: &str, server: &Server, observed: &Observed) -> Vec<Way> {
    let mut ways = vec![Way::Without, Way::Probes, Way::Empty];
    if name == "thrashing, read-only, in turns" {
        match attach(Way::Bpftrace, Some(server), observed) {
            Ok(_) => ways.push(Way::Bpftrace),
            Err(error) => report.skip(&format!("{name}: bpftrace"), format!("{error:#}")),
        }
    }
    ways
}

/// Attaches to the server that is `observed`; bpftrace asks for the `server` itself.
pub(crate) fn attach(way: Way, server: Option<&Server>, observed: &Observed) -> Result<Attached> {
    let options = match way {
        Way::Without => return Ok(Attached::Nothing),
        Way::Bpftrace => {
            let server = server.context("no server for bpftrace")?;
            let peer = Bpftrace::attach(server.program(), server.pid(), &points(observed))?;
            return Ok(Attached::Peer(peer));
        }
        Way::Probes => ProbeOptions::default(),
        Way::Empty => ProbeOptions { empty: true, ..ProbeOptions::default() },
    };
    let (probes, table) = Probes::attach(
        &observed.target,
        observed.profile(),
        &observed.layout,
        &observed.pool_map,
        options,
    )?;
    Ok(Attached::Ours(Box::new(probes), table))
}

/// Where the residency probes stand.
fn points(observed: &Observed) -> Vec<String> {
    RESIDENCY_EVENTS
        .iter()
        .filter_map(|event| observed.profile().sites.get(event))
        .flatten()
        .map(|site| format!("{:#x}", site.probe.0))
        .collect()
}

/// One load from beginning to end; what is attached changes under it.
fn run(
    server: &Server,
    observed: &Observed,
    workload: Script,
    ways: &[Way],
    scale: &Scale,
) -> Result<Vec<Stretch>> {
    let mut load = server.load(&LoadSpec::new(workload, THREADS).uniform())?;
    load.wait_for_seconds(WARM_UP)?;
    let mut stretches = Vec::new();
    for round in 0..scale.rounds {
        let mut order = ways.to_vec();
        order.rotate_left(round % ways.len());
        for way in order {
            let attached = attach(way, Some(server), observed)?;
            thread::sleep(SETTLE);
            stretches.push(stretch(&mut load, way, scale.stretch_seconds)?);
            drop(attached);
        }
    }
    load.stop()?;
    Ok(stretches)
}

fn stretch(load: &mut Load, way: Way, seconds: usize) -> Result<Stretch> {
    // The second that has begun belongs to what was attached before.
    let first = load.seconds().len() + 1;
    load.wait_for_seconds(first + seconds)?;
    let reported = load.seconds();
    let tps: f64 = reported[first..first + seconds].iter().map(|second| second.tps).sum();
    Ok(Stretch { way, tps: tps / number(seconds as u64) })
}

pub(crate) fn hits(attached: &Attached) -> Result<Vec<u64>> {
    let Attached::Ours(probes, _) = attached else { return Ok(Vec::new()) };
    let counters = probes.counters().context("failed to read the counters")?;
    Ok(counters.iter().map(|counter| counter.hits).collect())
}

fn report_on(report: &mut Report, name: &str, ways: &[Way], stretches: &[Stretch]) {
    let all = |way| -> Vec<f64> {
        let of_way = stretches.iter().filter(|stretch| stretch.way == way);
        of_way.map(|stretch| stretch.tps).collect()
    };
    let without = median(&all(Way::Without));
    // Each stretch beside the one without probes of its own round: the machine drifts in between.
    let pairs = |way| -> Vec<f64> {
        all(way).iter().zip(all(Way::Without)).map(|(with, without)| with / without).collect()
    };
    let tps = |way| without * trimmed(&pairs(way)).0;
    // How far this machine lets stretches differ that are alike.
    let away: Vec<f64> =
        all(Way::Without).iter().map(|tps| 100.0 * (tps / without - 1.0).abs()).collect();
    report.add(Figure::cost(format!("{name}: median deviation of TPS"), median(&away), "%"));
    let figure = |what: &str, value| {
        Figure::cost(format!("{name}: TPS {what}"), value, "1/s").against("without", without)
    };
    report.add(figure("with residency probes", tps(Way::Probes)));
    // What hits cost at least on this machine.
    report.add(figure("with empty probes", tps(Way::Empty)));
    if ways.contains(&Way::Bpftrace) {
        report.add(figure("with bpftrace", tps(Way::Bpftrace)));
    }
}
