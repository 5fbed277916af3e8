//! What one hit costs: the residency programs beside the empty one and beside bpftrace, at the same
//! instruction, called in a row.

use anyhow::{Context, Result};
use symbols::Options;
use symbols::elf::Program;
use symbols::profile::{ArgLoc, Instruction, Profile, Site, SiteKind};
use symbols::role::SiteRole;
use symbols::site::{ABI_ARGUMENTS, code, probe_at};
use userspace::cost::Meter;
use userspace::field_layout::FieldLayout;
use userspace::memory::ServerAddr;
use userspace::pool_map::{Chunk, PoolMap};
use userspace::probes::{ProbeOptions, Probes, RESIDENCY_EVENTS};
use userspace::residency::Table;
use userspace::target::Target;

use crate::bpftrace::Bpftrace;
use crate::figure::{Figure, Goal};
use crate::probed::{self, BLOCKS, Probed};
use crate::report::Report;
use crate::sample::{lower_quartile, number};
use crate::scale::Scale;

/// Events in the order of the probed functions.
const EVENTS: [SiteRole; 3] = [SiteRole::PageIoComplete, SiteRole::PageDirty, SiteRole::BlockFree];

/// What stands at the functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Nothing,
    Empty,
    Residency,
    Traced,
    Bpftrace,
}

/// Everything that is needed to attach to the probed process.
struct Bench {
    probed: Probed,
    /// The probed function of each event: its instruction is of the kind that the server has.
    functions: [usize; 3],
    target: Target,
    profile: Profile,
    layout: FieldLayout,
    pool_map: PoolMap,
}

pub(crate) fn measure(report: &mut Report, scale: &Scale) -> Result<()> {
    let installed = match scale.server.installed() {
        Ok(installed) => installed,
        Err(error) => {
            report.skip("cost of a hit", error);
            return Ok(());
        }
    };
    let server = symbols::ProgramPaths { program: &installed.program, root: "/".as_ref() };
    let profile = symbols::resolve(&server, &Options::default())?.profile;
    instructions(report, &profile);
    let mut bench = Bench::new(profile)?;
    let mut ways = vec![Way::Nothing, Way::Empty, Way::Residency, Way::Traced];
    match bench.attach(Way::Bpftrace) {
        Ok(_) => ways.push(Way::Bpftrace),
        Err(error) => report.skip("cost of a hit of bpftrace", format!("{error:#}")),
    }
    // Times by way and function.
    let mut times = vec![[const { Vec::new() }; 3]; ways.len()];
    for round in 0..=scale.call_rounds {
        for at in 0..ways.len() {
            let turn = (at + round) % ways.len();
            let attached = bench.attach(ways[turn])?;
            for (function, times) in times[turn].iter_mut().enumerate() {
                let calls =
                    if ways[turn] == Way::Nothing { scale.calls * 100 } else { scale.calls };
                let time = bench.probed.call(bench.functions[function], calls)?;
                // The first round warms up and does not count.
                if round > 0 {
                    times.push(time);
                }
            }
            drop(attached);
        }
    }
    let call = |way: Way, function: usize| {
        let found = ways.iter().position(|known| *known == way);
        found.map_or(f64::NAN, |at| lower_quartile(&times[at][function]))
    };
    let hit = |way, function| call(way, function) - call(Way::Nothing, function);
    for (function, event) in EVENTS.iter().enumerate() {
        let empty = hit(Way::Empty, function);
        let figure = |what: &str, way| {
            let name = format!("hit of `{event}`{what}");
            Figure::cost(name, hit(way, function), "ns").against("empty probe", empty)
        };
        report.add(figure("", Way::Residency).goal(Goal::AtMost(1.3)));
        report.add(figure(", traced, ring full", Way::Traced));
        if ways.contains(&Way::Bpftrace) {
            report.add(figure(" by bpftrace", Way::Bpftrace));
        }
    }
    run_time(report, &mut bench, scale)
}

/// How many points of the server cost one trap, and how many two.
fn instructions(report: &mut Report, profile: &Profile) {
    let sites: Vec<&Site> =
        RESIDENCY_EVENTS.iter().filter_map(|event| profile.sites.get(event)).flatten().collect();
    let emulated = sites.iter().filter(|site| site.instruction == Instruction::Emulated).count();
    let count = |count: usize| number(count as u64);
    report.add(Figure::cost("points of the residency probes", count(sites.len()), ""));
    report.add(Figure::cost("of these at an emulated instruction", count(emulated), ""));
}

/// Time inside of the programs, as the kernel counts it.
fn run_time(report: &mut Report, bench: &mut Bench, scale: &Scale) -> Result<()> {
    for (name, way) in [("empty", Way::Empty), ("residency", Way::Residency)] {
        let Attached::Ours(probes, _table) = bench.attach(way)? else { continue };
        let mut meter = Meter::start(true);
        meter.read(probes.run_time());
        for function in bench.functions {
            bench.probed.call(function, scale.calls)?;
        }
        let Some(time) = meter.read(probes.run_time()).bpf_ns_per_run else {
            report.skip("run time of the programs", "the kernel does not count it");
            return Ok(());
        };
        report.add(Figure::cost(format!("run time of the {name} programs per hit"), time, "ns"));
    }
    Ok(())
}

/// Holds the probes in place.
enum Attached {
    Nothing,
    Ours(Box<Probes>, Table),
    Peer(#[expect(dead_code, reason = "detaches when dropped")] Bpftrace),
}

impl Bench {
    /// Starts the probed process with descriptors as in `profile`, whose sites become its functions.
    fn new(mut profile: Profile) -> Result<Self> {
        let layout = FieldLayout::compile(&profile)?;
        let [reading, _] = layout.io_for_probes()?;
        let probed = Probed::start(layout.for_probes().stride, reading)?;
        let mut functions = [0, 1, 2];
        for (function, event) in functions.iter_mut().zip(&EVENTS) {
            let sites = profile.sites.get(event).map_or(&[][..], Vec::as_slice);
            let is_stepped = |site: &Site| site.instruction == Instruction::SingleStepped;
            *function += if sites.iter().all(is_stepped) { probed::STEPPED } else { 0 };
        }
        profile.sites.clear();
        let program = std::env::current_exe().context("failed to find this program")?;
        let program = Program::open(&program)?;
        for (event, function) in EVENTS.iter().zip(functions) {
            profile.sites.insert(*event, vec![site(&program, probed::NAMES[function])?]);
        }
        let target = Target::of(probed.pid())?;
        let chunk = Chunk {
            descriptors: ServerAddr(probed.at.descriptors),
            frames: ServerAddr(0),
            blocks: BLOCKS,
            first: 0,
            instance: 0,
        };
        let pool_map = PoolMap { page_size: 16384, pools: Vec::new(), chunks: vec![chunk] };
        Ok(Self { probed, functions, target, profile, layout, pool_map })
    }

    fn attach(&self, way: Way) -> Result<Attached> {
        let empty = match way {
            Way::Nothing => return Ok(Attached::Nothing),
            Way::Bpftrace => {
                let program = std::env::current_exe().context("failed to find this program")?;
                let names = self.functions.map(|function| probed::NAMES[function]);
                let peer = Bpftrace::attach(&program, self.probed.pid(), &names)?;
                return Ok(Attached::Peer(peer));
            }
            Way::Empty => true,
            Way::Residency | Way::Traced => false,
        };
        let options = ProbeOptions { empty, ..ProbeOptions::default() };
        let Self { target, profile, layout, pool_map, .. } = self;
        let (mut probes, table) = Probes::attach(target, profile, layout, pool_map, options)?;
        probes.set_trace(way == Way::Traced)?;
        Ok(Attached::Ours(Box::new(probes), table))
    }
}

/// A function of the probed process, its descriptor in the first register for arguments.
fn site(program: &Program, name: &str) -> Result<Site> {
    let symbols = program.symbols([name])?;
    let entry = symbols.get(name).first().with_context(|| format!("no symbol `{name}`"))?.addr;
    let probe = probe_at(program, entry).with_context(|| format!("no code at `{name}`"))?;
    Ok(Site {
        function: name.to_owned(),
        entry,
        probe: entry,
        file_offset: probe.file_offset,
        instruction: probe.instruction,
        code: code(program, entry, &probe),
        text: probe.text,
        kind: SiteKind::Function,
        args: vec![ArgLoc::Register { reg: ABI_ARGUMENTS[0] }],
    })
}
