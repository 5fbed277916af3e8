//! The page list: its time beside raw reads and beside the server's own view, and its memory.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use test_servers::Server;
use userspace::frames::{FRAME_BYTES, Frame, Frames, Pagemap};
use userspace::locate::Locator;
use userspace::memory::ServerAddr;
use userspace::observer::{ObserveOptions, Observer};
use userspace::page_list::{self, Built, ListSteps};
use userspace::pool_map::PoolMap;
use userspace::target::Target;

use crate::child;
use crate::figure::{Figure, Goal};
use crate::fill::full_pool;
use crate::quiet::wait_until_quiet;
use crate::report::Report;
use crate::sample::{median, milliseconds, number, timed};
use crate::scale::Scale;

/// The server's own view, as it is.
const QUERY: &str = "SELECT * FROM information_schema.INNODB_BUFFER_PAGE";

/// The least of it that a list would need, had it the files' and frames' addresses from elsewhere.
const NARROW_QUERY: &str = "SELECT POOL_ID, BLOCK_ID, SPACE, PAGE_NUMBER, IO_FIX, FIX_COUNT, \
    OLDEST_MODIFICATION FROM information_schema.INNODB_BUFFER_PAGE WHERE PAGE_STATE = 'FILE_PAGE'";

/// Takes the time of one step, in s.
type StepTime = fn(&ListSteps) -> f64;

/// Times of the same work on one pool, in ms, in the order of the rounds.
#[derive(Default)]
struct Times {
    raw: Vec<f64>,
    list: Vec<f64>,
    anew: Vec<f64>,
    walk: Vec<f64>,
    pagemap: Vec<f64>,
    query: Vec<f64>,
    narrow_query: Vec<f64>,
    /// Of the list made anew.
    steps: Vec<ListSteps>,
    /// Share of the descriptors that the prepared list read.
    judged: Vec<f64>,
    /// The prepared list after some pages have changed, and the share that it read.
    changed: Vec<(f64, f64)>,
}

pub(crate) fn measure(report: &mut Report, scale: &Scale) -> Result<()> {
    if let Err(error) = scale.server.installed() {
        report.skip("list", error);
        return Ok(());
    }
    let mut per_gib = Vec::new();
    for (index, mib) in scale.pools_mib.iter().enumerate() {
        let server = full_pool(scale.server, *mib)?;
        let largest = index + 1 == scale.pools_mib.len();
        let gib = number(*mib) / 1024.0;
        let times = time(report, &server, scale, *mib, largest)?;
        per_gib.push(median(&times.anew) / gib);
        if largest {
            compare(report, *mib, &times);
            memory(report, &server, *mib)?;
        }
    }
    if let [smallest, .., largest] = per_gib.as_slice() {
        let (small, large) = (scale.pools_mib[0], scale.pools_mib[scale.pools_mib.len() - 1]);
        let name = format!("list of {large} MiB, per GiB, beside {small} MiB");
        let figure = Figure::cost(name, *largest, "ms").against("small pool", *smallest);
        report.add(figure.goal(Goal::AtMost(1.25)));
    }
    Ok(())
}

fn time(
    report: &mut Report,
    server: &Server,
    scale: &Scale,
    mib: u64,
    largest: bool,
) -> Result<Times> {
    let target = Target::of(server.pid())?;
    let options = ObserveOptions::default();
    let mut observer = Observer::attach(target, &symbols::Options::default(), options)?;
    wait_until_quiet(observer.server())?;
    let mut pagemap = Pagemap::open(server.pid())?;
    let mut locator = Locator::open(server.pid())?;
    let (mut frames, slower) = Frames::open(server.pid())?;
    if let Some(error) = slower {
        report.skip("page-table walk", error);
    }
    let (mut times, mut memory) = (Times::default(), Vec::new());
    // The first round warms up and does not count.
    for round in 0..=scale.lists {
        let raw = milliseconds(page_list::raw_reads(observer.server(), &mut pagemap)?);
        let (list, built) = timed(|| written(observer.page_list()?, &mut memory))?;
        let (anew, whole) = timed(|| {
            let list = page_list::build(observer.server(), None, &mut locator, &mut frames)?;
            written(list, &mut memory)
        })?;
        let walk = timed(|| {
            translate(&observer.server().pool_map, |at, out| Ok(frames.translate(at, out)?))
        })?;
        let by_pagemap = timed(|| {
            translate(&observer.server().pool_map, |at, out| Ok(pagemap.translate(at, out)?))
        })?;
        ensure!(walk.1 == by_pagemap.1, "walk and pagemap do not agree on all frames");
        if round == 0 {
            let pages = number(built.facts.pages);
            let share = 100.0 * pages / f64::from(observer.server().pool_map.blocks());
            report.add(Figure::cost(format!("list of {mib} MiB: eligible"), share, "%"));
            let runs = number(built.run_count()) / pages;
            report.add(Figure::cost(format!("list of {mib} MiB: runs per page"), runs, ""));
            continue;
        }
        times.steps.push(whole.steps);
        times.judged.push(number(built.judged) / f64::from(observer.server().pool_map.blocks()));
        times.raw.push(raw);
        times.list.push(list);
        times.anew.push(anew);
        times.walk.push(walk.0);
        times.pagemap.push(by_pagemap.0);
    }
    if largest {
        for _ in 0..scale.lists.min(3) {
            times.query.push(timed(|| query(server, QUERY))?.0);
            times.narrow_query.push(timed(|| query(server, NARROW_QUERY))?.0);
        }
        for round in 0..scale.lists.min(5) {
            // One row of 199 or so, another each time; two rows share a page.
            query(
                server,
                &format!("UPDATE fill.t SET pad = REVERSE(pad) WHERE id % 199 = {round}"),
            )?;
            let (changed, built) = timed(|| written(observer.page_list()?, &mut memory))?;
            let judged = number(built.judged) / f64::from(observer.server().pool_map.blocks());
            times.changed.push((changed, judged));
        }
    }
    Ok(times)
}

/// A list is made when its bytes are: runs are joined while they are written. The memory that they go to is there
/// already, as that which the agent pins: the time of that is a step of its own there.
fn written(list: Built, memory: &mut Vec<u8>) -> Result<Built> {
    let bytes = usize::try_from(list.encoded_bytes())?;
    if memory.len() < bytes {
        memory.resize(bytes, 0);
    }
    list.write_to(&mut memory[..bytes])?;
    Ok(list)
}

/// All frames of the pool by one of the two ways.
fn translate(
    pool_map: &PoolMap,
    mut way: impl FnMut(ServerAddr, &mut [Frame]) -> Result<()>,
) -> Result<Vec<Frame>> {
    let mut all = Vec::new();
    for chunk in &pool_map.chunks {
        let bytes = u64::from(chunk.blocks) * u64::from(pool_map.page_size);
        let at = all.len();
        all.resize(at + usize::try_from(bytes / FRAME_BYTES)?, Frame::ABSENT);
        way(chunk.frames, &mut all[at..])?;
    }
    Ok(all)
}

/// Asks the server and takes its answer, which nobody keeps.
fn query(server: &Server, sql: &str) -> Result<()> {
    let status = Command::new("mariadb")
        .args(["--no-defaults", "--user=root", "--batch", "--quick", "--skip-column-names"])
        .arg("--socket")
        .arg(server.socket())
        .args(["--execute", sql])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("failed to start the `mariadb` client")?;
    ensure!(status.success(), "the `mariadb` client ended with {status}");
    Ok(())
}

fn compare(report: &mut Report, mib: u64, times: &Times) {
    let list = median(&times.list);
    let figure = |what: &str, value| Figure::cost(format!("list of {mib} MiB{what}"), value, "ms");
    let steps: [(&str, StepTime); 5] = [
        (": looking at files", |steps| steps.refresh_s),
        (": descriptors", |steps| steps.scan_s),
        (": frames, beside the descriptors", |steps| steps.translate_s),
        (": places", |steps| steps.locate_s),
        (": runs", |steps| steps.merge_s),
    ];
    for (what, step) in steps {
        let values: Vec<f64> = times.steps.iter().map(|steps| step(steps) * 1e3).collect();
        report.add(figure(what, median(&values)));
    }
    let (anew, raw) = (median(&times.anew), median(&times.raw));
    let (query, narrow) = (median(&times.query), median(&times.narrow_query));
    report.add(figure(" made anew", anew).against("raw reads", raw).goal(Goal::AtMost(1.5)));
    report.add(
        figure(" made anew beside SELECT *", anew)
            .against("INNODB_BUFFER_PAGE", query)
            .goal(Goal::AtMost(0.1)),
    );
    let columns = "7 columns of INNODB_BUFFER_PAGE";
    report.add(figure(" made anew beside 7 columns", anew).against(columns, narrow));
    // What an agent that watches hands over.
    let judged = 100.0 * median(&times.judged);
    report.add(Figure::cost(format!("list of {mib} MiB prepared: descriptors read"), judged, "%"));
    report.add(figure(" prepared", list).against("raw reads", raw).goal(Goal::AtMost(1.5)));
    report.add(
        figure(" prepared beside the one made anew", list)
            .against("made anew", anew)
            .goal(Goal::AtMost(0.2)),
    );
    let part =
        |part: fn(&(f64, f64)) -> f64| median(&times.changed.iter().map(part).collect::<Vec<_>>());
    let name = format!("list of {mib} MiB prepared, pages have changed: descriptors read");
    report.add(Figure::cost(name, 100.0 * part(|(_, judged)| *judged), "%"));
    report.add(
        figure(" prepared, pages have changed", part(|(ms, _)| *ms)).against("made anew", anew),
    );
    report.add(
        figure(" prepared beside SELECT *", list)
            .against("INNODB_BUFFER_PAGE", query)
            .goal(Goal::AtMost(0.1)),
    );
    report.add(figure(" prepared beside 7 columns", list).against(columns, narrow));
    let pagemap = median(&times.pagemap);
    report.add(figure(": frames by walk", median(&times.walk)).against("pagemap", pagemap));
}

/// Memory of the agent as users run it.
fn memory(report: &mut Report, server: &Server, mib: u64) -> Result<()> {
    let poolferry = std::env::current_exe()?.with_file_name("poolferry");
    ensure!(poolferry.is_file(), "`{}` is not built", poolferry.display());
    let pool = number(mib << 20);
    for (what, arguments) in [
        ("pages --format bin", ["pages", "--format", "bin", "--output", "/dev/null"].as_slice()),
        ("trace", ["trace", "--format", "none", "--duration", "5s"].as_slice()),
    ] {
        let used = child::measure(&of_server(&poolferry, server, arguments))?;
        let name = format!("memory of `{what}`, {mib} MiB of pool");
        let share = 100.0 * number(used.peak_bytes) / pool;
        report.add(Figure::cost(name, share, "%").goal(Goal::AtMost(0.5)));
        let name = format!("CPU time of `{what}`");
        report.add(Figure::cost(name, used.cpu_ms, "ms"));
    }
    Ok(())
}

fn of_server(poolferry: &Path, server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(poolferry);
    command.args(arguments).arg("--pid").arg(server.pid().to_string());
    command
}
