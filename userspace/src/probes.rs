//! The eBPF programs in the kernel: loading them for one server, attaching, reading what they count.
//!
//! A keeper holds them (`probe_loader`): a process of ours that looks at nothing of a server's, so that no one can keep it from
//! ending. It ends with this one, however this one ends, and the kernel then takes the probes out of the server's text. This
//! process holds maps only.
//!
//! A probe is set by a [`ProvenSite`] and nothing else: whatever the profile has, and wherever it came
//! from, the program's own bytes must have an instruction of that function there.

mod error;
mod sites;

use std::os::fd::OwnedFd;

use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray, RingBuf};
use aya_log::EbpfLogger;
use probe_abi::{
    ChunkRange, Control, Histogram, KernelLayout, PROBES, Probe, ProbeCounters, ServerLayout,
    WordRange,
};
use probe_loader::{Holder, Keeper, KeeperError, LoadError, ProbePoint};
use symbols::profile::Profile;
use symbols::text::{ProgramText, ProvenSite};

use crate::field_layout::FieldLayout;
use crate::pool_map::PoolMap;
use crate::residency::Table;
use crate::target::{Account, Target, TargetError};
use sites::{Plan, QUERIES, RESIDENCY, sites_of};

pub use error::ProbesError;
pub use sites::{Coverage, RESIDENCY_EVENTS, coverage};

/// What to load and attach.
#[derive(Clone, Copy, Debug)]
pub struct ProbeOptions {
    /// Latency probes on commands and commits too.
    pub queries: bool,
    /// Size of the trace ring in bytes; rounded up to a power of two of pages.
    pub ring_bytes: u32,
    /// Let the programs log through aya-log at debug level.
    pub log: bool,
    /// Attach a program that does nothing in place of the residency probes: what traps alone cost.
    pub empty: bool,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self { queries: false, ring_bytes: 1 << 20, log: false, empty: false }
    }
}

/// The object that `build.rs` embedded, aligned as ELF parsers want it. A program that sets probes gives it to
/// [`probe_loader::start`].
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/probes.o"));

/// What is set in the object before its maps are made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    /// Offsets in the server.
    pub(crate) layout: ServerLayout,
    /// How reads and writes are distinguished.
    pub(crate) io: [WordRange; 2],
    /// Entries of the residency table.
    pub(crate) blocks: u32,
    /// Chunks that they lie in.
    pub(crate) chunks: u32,
    /// Bytes of the trace ring.
    pub(crate) ring_bytes: u32,
    /// Level of aya-log, 0 for nothing.
    pub(crate) log_level: u8,
}

impl Settings {
    fn for_object(&self) -> probe_loader::ObjectSettings {
        probe_loader::ObjectSettings::default()
            .global("LAYOUT", &self.layout)
            .global("READING", &self.io[0])
            .global("WRITING", &self.io[1])
            .global("AYA_LOG_LEVEL", &self.log_level)
            .entries("TABLE", self.blocks.max(1))
            .entries("LAID", self.blocks.max(1))
            .entries("CHUNKS", self.chunks.max(1))
            .entries("TRACE", self.ring_bytes.next_power_of_two().max(4096))
    }
}

/// Loads the object with its maps in this process, no program yet; for programs that are no probes.
///
/// # Errors
/// When there is no object or the kernel refuses the maps.
pub(crate) fn load(settings: &Settings) -> Result<Ebpf, ProbesError> {
    if OBJECT.is_empty() {
        return Err(ProbesError::NotBuiltIn);
    }
    probe_loader::load(OBJECT, &settings.for_object())
        .map_err(|source| ProbesError::Load(Box::new(source)))
}

/// The attached programs of one server.
pub struct Probes {
    coverage: Coverage,
    /// Number of probes in the server's text.
    sites: usize,
    keeper: Keeper,
    counters: PerCpuArray<MapData, ProbeCounters>,
    latency: PerCpuArray<MapData, Histogram>,
    control: Array<MapData, Control>,
    chunks: Array<MapData, ChunkRange>,
    state: Control,
}

impl Probes {
    /// Has them loaded and attached, and maps the residency table.
    ///
    /// # Errors
    /// When the object, a program, a site or a map is refused, or a process would be waited for; nothing stays attached then.
    pub fn attach(
        target: &Target,
        profile: &Profile,
        layout: &FieldLayout,
        pool_map: &PoolMap,
        options: ProbeOptions,
    ) -> Result<(Self, Table), ProbesError> {
        let coverage = coverage(profile)?;
        let residency = match coverage {
            Coverage::Events => &RESIDENCY[..],
            Coverage::ScanOnly { .. } => &[],
        };
        // Opened once: what is checked here is what the probes go on.
        let text = target.text(profile)?;
        let queries = if options.queries { &QUERIES[..] } else { &[] };
        let plans: Vec<&Plan> = residency.iter().chain(queries).collect();
        let mut proven = Vec::new();
        for plan in plans {
            let empty = options.empty && RESIDENCY.contains(plan);
            let program = if empty { "empty" } else { plan.program };
            for site in prove(&text, profile, plan)? {
                proven.push((program, wanted(plan, program, &site)?, site));
            }
        }
        let mut programs: Vec<&str> = proven.iter().map(|(program, ..)| *program).collect();
        programs.sort_unstable();
        programs.dedup();
        let settings = Settings {
            layout: layout.for_probes(),
            io: layout.io_for_probes()?,
            blocks: pool_map.blocks(),
            chunks: u32::try_from(pool_map.chunks.len()).unwrap_or(u32::MAX),
            ring_bytes: options.ring_bytes,
            log_level: if options.log { aya_log::Level::Debug as u8 } else { 0 },
        };
        let mut keeper = Keeper::load(target.pid, OBJECT, &settings.for_object(), &programs)?;
        let table = Table::map(keeper.map("TABLE")?, keeper.map("LAID")?, pool_map.blocks())
            .map_err(|source| ProbesError::map("TABLE", source))?;
        let counters = keeper.take("COUNTERS")?;
        let latency = keeper.take("LATENCY")?;
        let control = keeper.take("CONTROL")?;
        let chunks = keeper.take("CHUNKS")?;
        let mut probes = Self {
            coverage,
            sites: proven.len(),
            keeper,
            counters,
            latency,
            control,
            chunks,
            state: Control::default(),
        };
        probes.set_pool_map(layout, pool_map)?;
        let sites = proven.iter().map(|(_, wanted, _)| wanted.clone()).collect();
        let attached =
            probes.keeper.attach(text.file(), sites, None, |holder| waits(target, holder));
        attached.map_err(|error| match error {
            KeeperError::Refused(LoadError::Attach { site, source }) if site < proven.len() => {
                let (program, _, site) = &proven[site];
                ProbesError::Attach {
                    program,
                    function: site.function().to_owned(),
                    offset: site.probe(),
                    path: foreign::path(&target.exe).to_string(),
                    source,
                }
            }
            error => error.into(),
        })?;
        // The pid may be another process's by now, or have executed another program.
        if !target.is_alive() {
            return Err(TargetError::Gone { pid: target.pid }.into());
        }
        probes.state.settled = 1;
        probes.apply()?;
        Ok((probes, table))
    }

    /// Whether they still are in the server's text.
    ///
    /// # Errors
    /// When the process that keeps them is gone, and they with it.
    pub fn check(&self) -> Result<(), ProbesError> {
        Ok(self.keeper.check()?)
    }

    /// A descriptor that is readable once they are gone without our doing.
    #[must_use]
    pub fn gone(&self) -> Option<OwnedFd> {
        self.keeper.exit()
    }

    /// What they see of the server's pages.
    #[must_use]
    pub const fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// Whether the residency table is kept by them.
    #[must_use]
    pub fn see_events(&self) -> bool {
        self.coverage == Coverage::Events
    }

    /// Number of probes in the server's text.
    #[must_use]
    pub const fn sites(&self) -> usize {
        self.sites
    }

    /// Gives the probes the places of the descriptors.
    ///
    /// # Errors
    /// When a map refuses it.
    pub fn set_pool_map(
        &mut self,
        layout: &FieldLayout,
        pool_map: &PoolMap,
    ) -> Result<(), ProbesError> {
        let list = pool_map.for_probes(layout);
        for (index, chunk) in (0..).zip(&list) {
            let set = self.chunks.set(index, chunk, 0);
            set.map_err(|source| ProbesError::map("CHUNKS", source))?;
        }
        self.state.chunks = u32::try_from(list.len()).unwrap_or(0);
        self.apply()
    }

    /// Switches trace records on or off.
    ///
    /// # Errors
    /// When the map refuses it.
    pub fn set_trace(&mut self, on: bool) -> Result<(), ProbesError> {
        self.state.trace = u32::from(on);
        self.apply()
    }

    /// Gives the probes what they need to walk page tables, and switches the walk on.
    ///
    /// # Errors
    /// When the map refuses it.
    pub fn set_walk(&mut self, kernel: Option<KernelLayout>) -> Result<(), ProbesError> {
        self.state.walk = u32::from(kernel.is_some());
        self.state.kernel = kernel.unwrap_or_default();
        self.apply()
    }

    fn apply(&mut self) -> Result<(), ProbesError> {
        self.control.set(0, self.state, 0).map_err(|source| ProbesError::map("CONTROL", source))
    }

    /// Counters of each probe, summed over the CPUs.
    ///
    /// # Errors
    /// When the map refuses it.
    pub fn counters(&self) -> Result<[ProbeCounters; PROBES], ProbesError> {
        let mut sums = [ProbeCounters::default(); PROBES];
        for probe in Probe::ALL {
            let values = self
                .counters
                .get(&(probe as u32), 0)
                .map_err(|source| ProbesError::map("COUNTERS", source))?;
            let sum = &mut sums[probe as usize];
            for cpu in values.iter() {
                sum.hits += cpu.hits;
                sum.ring_lost += cpu.ring_lost;
                sum.foreign += cpu.foreign;
                sum.faults += cpu.faults;
            }
        }
        Ok(sums)
    }

    /// Latencies of commands or commits, summed over the CPUs.
    ///
    /// # Errors
    /// When the map refuses it.
    pub fn latency(&self, probe: Probe) -> Result<Histogram, ProbesError> {
        let values = self
            .latency
            .get(&(probe as u32), 0)
            .map_err(|source| ProbesError::map("LATENCY", source))?;
        let mut sum = Histogram::default();
        for cpu in values.iter() {
            for (total, bucket) in sum.buckets.iter_mut().zip(cpu.buckets) {
                *total += bucket;
            }
            sum.count += cpu.count;
            sum.sum_ns += cpu.sum_ns;
        }
        Ok(sum)
    }

    /// Takes the trace ring out, for the reader of the trace.
    ///
    /// # Errors
    /// When it was taken before.
    pub fn take_trace(&mut self) -> Result<RingBuf<MapData>, ProbesError> {
        Ok(self.keeper.take("TRACE")?)
    }

    /// Starts passing the programs' log records to this process's logger.
    ///
    /// # Errors
    /// When the programs have no log ring.
    pub fn take_log(&mut self) -> Result<EbpfLogger<&'static dyn log::Log>, ProbesError> {
        // The ring is found by a program that writes to it: aya takes no descriptor.
        let mut logger = Err(aya_log::Error::MapNotFound);
        for program in self.keeper.programs() {
            logger = EbpfLogger::init_from_id(*program);
            if logger.is_ok() {
                break;
            }
        }
        logger.map_err(|source| ProbesError::map("AYA_LOGS", source))
    }

    /// Run time in ns and number of runs of all programs, where the kernel counts them.
    #[must_use]
    pub fn run_time(&self) -> (u64, u64) {
        self.keeper.run_time().unwrap_or_else(|error| {
            log::debug!("no run time of the programs: {error}");
            (0, 0)
        })
    }
}

/// Logs why setting probes takes long.
fn waits(target: &Target, holder: Option<Holder>) {
    let whom = match holder {
        Some(Holder { pid, user }) => format!("process {pid} of user {}", Account(user)),
        None => format!("a process that maps the program of process {}", target.pid),
    };
    log::warn!(
        "setting probes in process {} takes long: the kernel waits until {whom} lets go of its memory map, and `fork` waits \
         with it",
        target.pid
    );
}

/// What the keeper sets at a site.
fn wanted(plan: &Plan, program: &str, site: &ProvenSite<'_>) -> Result<ProbePoint, ProbesError> {
    let cookie = match plan.argument {
        None => None,
        Some(n) => {
            let cookie = sites::cookie(site.args().get(n));
            Some(cookie.ok_or_else(|| ProbesError::NoArgument {
                event: plan.event,
                function: site.function().to_owned(),
            })?)
        }
    };
    // A return probe belongs on the entry itself. Entry probes stand where one trap is enough.
    Ok(ProbePoint {
        program: program.to_owned(),
        entry: site.entry().0,
        probe: site.probe().0,
        cookie,
    })
}

/// The sites of an event, each proven in the program's own bytes.
fn prove<'t>(
    text: &'t ProgramText,
    profile: &Profile,
    plan: &Plan,
) -> Result<Vec<ProvenSite<'t>>, ProbesError> {
    let unproven = |source| ProbesError::Unproven { event: plan.event, source: Box::new(source) };
    sites_of(profile, plan)?.iter().map(|site| text.prove(site).map_err(unproven)).collect()
}
