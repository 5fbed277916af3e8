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
//! What still differs from one stretch to the next is how the CPUs are shared out. So the server's CPU time for a
//! transaction is compared in the same way: traps and programs are counted to the thread that they stop, and where
//! all CPUs are busy, TPS is what CPU time allows.
//!
//! A pool that is warm has next to no hits, and the other server none of our probes. A pool that thrashes has many,
//! and what they cost at least is the kernel's: so the other server has empty probes at the same points.

use std::path::Path;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result};
use probe_abi::Probe;
use rustix::fs::statfs;
use test_servers::{Config, Load, LoadSpec, Script, Server};
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
    observed: Observed,
    server: Server,
}

/// What one of both did in a stretch.
#[derive(Clone, Copy)]
struct Did {
    tps: f64,
    /// CPU time of the server for a transaction, in us.
    cpu_us: f64,
}

/// A stretch with the probes at one of them.
struct Stretch {
    with: Did,
    without: Did,
    /// Hits a second by probe.
    hits: Vec<f64>,
}

/// A pair of servers, and what is compared on it.
struct Case {
    name: &'static str,
    workload: Script,
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
    if let Err(error) = scale.server.installed() {
        report.skip(names[0], error);
        return Ok(());
    }
    let twins = [twin(pool_mib, scale)?, twin(pool_mib, scale)?];
    for (name, workload) in names.into_iter().zip([Script::ReadOnly, Script::ReadWrite]) {
        let case = Case { name, workload, beside };
        let stretches = run(&twins, &case, scale)?;
        report_on(report, &case, &stretches);
    }
    Ok(())
}

fn twin(pool_mib: u64, scale: &Scale) -> Result<Twin> {
    let mut config = Config::new().pool_mib(pool_mib).sysbench(scale.data);
    let memory = Path::new(MEMORY);
    if statfs(memory).is_ok_and(|about| about.f_bavail * about.f_bsize.unsigned_abs() > ROOM) {
        config = config.datadir_in(memory);
    }
    let server = Server::start(scale.server, config)?;
    // Every page of every table, by its primary and its secondary index.
    for table in 1..=scale.data.tables {
        server.query(&format!(
            "SELECT SUM(LENGTH(c)), SUM(LENGTH(pad)) FROM sbtest.sbtest{table}; \
             SELECT SUM(k) FROM sbtest.sbtest{table} FORCE INDEX (k_{table})"
        ))?;
    }
    let target = Target::of(server.pid())?;
    let observed = Observed::open(target, &symbols::Options::default())?;
    Ok(Twin { observed, server })
}

/// Pairs of stretches: the probes at the first of both, then at the second, then the other way round.
fn run(twins: &[Twin; 2], case: &Case, scale: &Scale) -> Result<Vec<[Stretch; 2]>> {
    let load = |twin: &Twin| twin.server.load(&LoadSpec::new(case.workload, THREADS).uniform());
    let mut loads = [load(&twins[0])?, load(&twins[1])?];
    for load in &mut loads {
        load.wait_for_seconds(WARM_UP)?;
    }
    let mut pairs = Vec::new();
    for round in 0..scale.twin_rounds {
        let first = round % 2;
        let one = stretch(twins, &mut loads, first, case, scale.twin_seconds)?;
        let other = stretch(twins, &mut loads, 1 - first, case, scale.twin_seconds)?;
        pairs.push([one, other]);
    }
    Ok(pairs)
}

fn stretch(
    twins: &[Twin; 2],
    loads: &mut [Load; 2],
    probed: usize,
    case: &Case,
    seconds: usize,
) -> Result<Stretch> {
    let attached = attach(Way::Probes, None, &twins[probed].observed)?;
    let _beside = attach(case.beside, None, &twins[1 - probed].observed)?;
    thread::sleep(SETTLE);
    let (before, begun) = (hits(&attached)?, Instant::now());
    let [one, other] = loads;
    let (one, other) = thread::scope(|scope| {
        let other = scope.spawn(|| watch(&twins[1].server, other, seconds));
        (watch(&twins[0].server, one, seconds), other.join())
    });
    let did = [one?, other.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?];
    let (after, length) = (hits(&attached)?, begun.elapsed().as_secs_f64());
    let hits = before.iter().zip(&after).map(|(a, b)| number(b - a) / length).collect();
    Ok(Stretch { with: did[probed], without: did[1 - probed], hits })
}

/// What a server does in the next whole seconds of its load.
fn watch(server: &Server, load: &mut Load, seconds: usize) -> Result<Did> {
    // The second that has begun belongs to what was attached before.
    let first = load.seconds().len() + 1;
    load.wait_for_seconds(first)?;
    let before = cpu_s(server.pid())?;
    load.wait_for_seconds(first + seconds)?;
    let cpu = cpu_s(server.pid())? - before;
    let reported = load.seconds();
    let transactions: f64 = reported[first..first + seconds].iter().map(|second| second.tps).sum();
    Ok(Did { tps: transactions / number(seconds as u64), cpu_us: cpu * 1e6 / transactions })
}

/// CPU time of a process, of all of its threads, in user and kernel mode (proc_pid_stat(5)).
fn cpu_s(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold anything; the fields after it begin with the third.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>().context("no times in /proc/PID/stat")?;
    Ok(number(ticks) / number(rustix::param::clock_ticks_per_second()))
}

fn report_on(report: &mut Report, case: &Case, pairs: &[[Stretch; 2]]) {
    let name = case.name;
    let beside = if case.beside == Way::Empty { "empty probes" } else { "without" };
    let compare = |of: fn(&Did) -> f64| {
        let ratio = |[one, other]: &[Stretch; 2]| {
            let stretch = |stretch: &Stretch| of(&stretch.with) / of(&stretch.without);
            (stretch(one) * stretch(other)).sqrt()
        };
        let without: Vec<f64> = pairs.iter().flatten().map(|pair| of(&pair.without)).collect();
        (median(&without), pairs.iter().map(ratio).collect::<Vec<f64>>())
    };
    let (without, ratios) = compare(|did| did.tps);
    let away: Vec<f64> = ratios.iter().map(|ratio| 100.0 * (ratio - 1.0).abs()).collect();
    report.add(Figure::cost(format!("{name}: median deviation of pairs"), median(&away), "%"));
    let (ratio, noise) = trimmed(&ratios);
    let figure = Figure::cost(format!("{name}: TPS with residency probes"), without * ratio, "1/s");
    report.add(figure.against(beside, without).within(noise).goal(Goal::AtLeast(0.99)));
    let (without, ratios) = compare(|did| did.cpu_us);
    let (ratio, noise) = trimmed(&ratios);
    let what = "server's CPU time a transaction with residency probes";
    let figure = Figure::cost(format!("{name}: {what}"), without * ratio, "us");
    report.add(figure.against(beside, without).within(noise).goal(Goal::AtMost(1.01)));
    let mut all = 0.0;
    for probe in [Probe::Read, Probe::Written, Probe::Dirty, Probe::Evicted] {
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
