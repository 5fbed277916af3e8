//! What the probes cost a server in TPS: two servers under the same load at the same time, and the probes change
//! over from one to the other.
//!
//! The cost is far below what the speed of a virtual machine changes by from one second to the next. Two servers
//! side by side see the same of that. With `a` and `b` their TPS, first with the probes at A, then with the probes
//! at B, TPS with probes beside TPS without is
//!
//! ```text
//! sqrt((a1 / b1) * (b2 / a2))
//! ```
//! Whichever of both is the faster drops out, and so does whatever happens to both.
//!
//! A pool that is warm has next to no hits, and the other server none of our probes. A pool that thrashes has many,
//! and what they cost at least is the kernel's: so the other server has empty probes at the same points.

use std::path::Path;
use std::thread;

use anyhow::Result;
use probe_abi::Probe;
use rustix::fs::statfs;
use test_servers::{Config, Load, LoadSpec, Release, Server, Workload};
use userspace::server::Server as Observed;
use userspace::target::Target;

use crate::figure::{Figure, Goal};
use crate::overhead::{SETTLE, WARM_UP, Way, attach, hits};
use crate::report::Report;
use crate::sample::{median, number, trimmed};
use crate::scale::Scale;

/// Where data lies that no disk is to slow down, if there is room.
const MEMORY: &str = "/dev/shm";
/// Room that both data directories take, at most.
const ROOM: u64 = 2 << 30;
/// Connections to each: one of both and its sysbench for each of two CPUs.
const THREADS: u32 = 1;

/// One of both.
struct Twin {
    // Before the server, so that nothing asks it any more when it goes.
    load: Load,
    observed: Observed,
    _server: Server,
}

/// A stretch with the probes at one of them.
struct Stretch {
    with: f64,
    without: f64,
    /// Hits a second by probe.
    hits: Vec<f64>,
}

/// A pair of servers, and what is compared on it.
struct Case {
    name: &'static str,
    workload: Workload,
    pool_mib: u64,
    /// What the other server has.
    beside: Way,
}

/// The pool holds all of the data.
pub(crate) fn warm(report: &mut Report, scale: &Scale) -> Result<()> {
    measure(report, scale, ["warm, read-only", "warm, read-write"], scale.warm_mib, Way::Without)
}

/// The data is a multiple of the pool.
pub(crate) fn thrashing(report: &mut Report, scale: &Scale) -> Result<()> {
    let names = ["thrashing, read-only", "thrashing, read-write"];
    measure(report, scale, names, scale.thrashing_mib, Way::Empty)
}

fn measure(
    report: &mut Report,
    scale: &Scale,
    names: [&'static str; 2],
    pool_mib: u64,
    beside: Way,
) -> Result<()> {
    if let Err(error) = Release::Mysql56.installed() {
        report.skip(names[0], error);
        return Ok(());
    }
    for (name, workload) in names.into_iter().zip([Workload::ReadOnly, Workload::ReadWrite]) {
        let case = Case { name, workload, pool_mib, beside };
        let mut twins = [twin(&case, scale)?, twin(&case, scale)?];
        let stretches = run(&mut twins, &case, scale)?;
        tell(report, &case, &stretches);
    }
    Ok(())
}

fn twin(case: &Case, scale: &Scale) -> Result<Twin> {
    let mut config = Config::new().pool_mib(case.pool_mib).sysbench(scale.data);
    let memory = Path::new(MEMORY);
    if statfs(memory).is_ok_and(|about| about.f_bavail * about.f_bsize.unsigned_abs() > ROOM) {
        config = config.datadir_in(memory);
    }
    let server = Server::start(Release::Mysql56, config)?;
    // Every page of every table, by its primary and its secondary index.
    for table in 1..=scale.data.tables {
        server.query(&format!(
            "SELECT SUM(LENGTH(c)), SUM(LENGTH(pad)) FROM sbtest.sbtest{table}; \
             SELECT SUM(k) FROM sbtest.sbtest{table} FORCE INDEX (k_{table})"
        ))?;
    }
    let target = Target::of(server.pid())?;
    let observed = Observed::open(target, &symbols::Options::default())?;
    let load = server.load(&LoadSpec::new(case.workload, THREADS).uniform())?;
    Ok(Twin { load, observed, _server: server })
}

/// Pairs of stretches: the probes at the first of both, then at the second, then the other way round.
fn run(twins: &mut [Twin; 2], case: &Case, scale: &Scale) -> Result<Vec<[Stretch; 2]>> {
    for twin in twins.iter_mut() {
        twin.load.wait_for_seconds(WARM_UP)?;
    }
    let mut pairs = Vec::new();
    for round in 0..scale.twin_rounds {
        let first = round % 2;
        let one = stretch(twins, first, case, scale.twin_seconds)?;
        let other = stretch(twins, 1 - first, case, scale.twin_seconds)?;
        pairs.push([one, other]);
    }
    Ok(pairs)
}

fn stretch(
    twins: &mut [Twin; 2],
    probed: usize,
    case: &Case,
    seconds: usize,
) -> Result<Stretch> {
    let attached = attach(Way::Probes, None, &twins[probed].observed)?;
    let _beside = attach(case.beside, None, &twins[1 - probed].observed)?;
    thread::sleep(SETTLE);
    // The second that has begun belongs to what was attached before.
    let firsts = [0, 1].map(|twin: usize| twins[twin].load.seconds().len() + 1);
    twins[probed].load.wait_for_seconds(firsts[probed])?;
    let before = hits(&attached)?;
    twins[probed].load.wait_for_seconds(firsts[probed] + seconds)?;
    let after = hits(&attached)?;
    let length = number(seconds as u64);
    let mut tps = [0.0; 2];
    for (twin, first) in firsts.into_iter().enumerate() {
        let load = &mut twins[twin].load;
        load.wait_for_seconds(first + seconds)?;
        let reported = load.seconds();
        tps[twin] = reported[first..first + seconds].iter().map(|second| second.tps).sum::<f64>();
    }
    let hits = before.iter().zip(&after).map(|(a, b)| number(b - a) / length).collect();
    Ok(Stretch { with: tps[probed] / length, without: tps[1 - probed] / length, hits })
}

fn tell(report: &mut Report, case: &Case, pairs: &[[Stretch; 2]]) {
    let name = case.name;
    let without: Vec<f64> = pairs.iter().flatten().map(|stretch| stretch.without).collect();
    let without = median(&without);
    let ratio = |[one, other]: &[Stretch; 2]| {
        (one.with / one.without * (other.with / other.without)).sqrt()
    };
    let ratios: Vec<f64> = pairs.iter().map(ratio).collect();
    let away: Vec<f64> = ratios.iter().map(|ratio| 100.0 * (ratio - 1.0).abs()).collect();
    report.add(Figure::cost(format!("{name}: median deviation of pairs"), median(&away), "%"));
    let (ratio, noise) = trimmed(&ratios);
    let beside = if case.beside == Way::Empty { "empty probes" } else { "without" };
    let figure = Figure::cost(format!("{name}: TPS with residency probes"), without * ratio, "1/s");
    report.add(figure.against(beside, without).within(noise).goal(Goal::AtLeast(0.99)));
    let mut all = 0.0;
    for probe in [Probe::Read, Probe::Written, Probe::Dirty, Probe::Free] {
        let rates = pairs.iter().flatten().filter_map(|stretch| stretch.hits.get(probe as usize));
        let rate = median(&rates.copied().collect::<Vec<_>>());
        all += rate;
        report.add(Figure::cost(format!("{name}: hits of `{}`", probe.name()), rate, "1/s"));
    }
    // What noise hides can be reckoned: hits and what one takes, of one CPU's time.
    if let Some(ns) = report.highest("hit of ") {
        let share = Figure::cost(format!("{name}: time of all hits"), all * ns / 1e7, "%");
        let is_warm = case.beside == Way::Without;
        report.add(if is_warm { share.goal(Goal::AtMost(1.0)) } else { share });
    }
}
