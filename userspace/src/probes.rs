//! The eBPF programs in the kernel: loading them for one server, attaching, reading what they count.
//!
//! Everything is held by file descriptors of this process: when it ends, however it ends, the kernel
//! takes the probes out of the server's text and frees the maps.
//!
//! A probe is set by a [`ProvenSite`] and nothing else: whatever the profile says, and wherever it came
//! from, the program's own bytes must have an instruction of that function there.

mod sites;

use std::num::NonZeroU32;
use std::os::fd::{AsFd as _, BorrowedFd};

use aya::maps::{Array, MapData, PerCpuArray, RingBuf};
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeScope};
use aya::programs::{ProbeKind, ProgramError, UProbe};
use aya::{Ebpf, EbpfLoader};
use probe_abi::links::Links;
use probe_abi::{
    Condition, Control, Counters, Histogram, KernelLayout, PROBES, Probe, ServerLayout,
};
use symbols::profile::Profile;
use symbols::role::SiteRole;
use symbols::text::{ProgramText, ProvenSite, SiteError};
use thiserror::Error;

use crate::geometry::Geometry;
use crate::layout::{Layout, LayoutError};
use crate::residency::Table;
use crate::target::{Target, TargetError};
use sites::{Plan, QUERIES, RESIDENCY, sites_of};

pub use sites::{Coverage, RESIDENCY_EVENTS, coverage};

/// The programs could not be loaded or attached.
#[derive(Debug, Error)]
pub enum ProbesError {
    /// The binary was built without the eBPF object.
    #[error("this build of the agent has no eBPF programs in it")]
    NotBuiltIn,
    /// The kernel or the loader refused the object.
    #[error("failed to load the eBPF programs")]
    Load(#[source] Box<aya::EbpfError>),
    /// One program was refused.
    #[error("failed to load the eBPF program `{program}`")]
    Program {
        /// Its name.
        program: &'static str,
        /// The verifier's or the kernel's reason.
        #[source]
        source: Box<ProgramError>,
    },
    /// A probe could not be set.
    #[error("failed to attach `{program}` to {function} at file offset {offset} of `{path}`")]
    Attach {
        /// The program.
        program: &'static str,
        /// The server's function.
        function: String,
        /// Where.
        offset: symbols::addr::FileOff,
        /// In which file.
        path: String,
        /// The kernel's reason.
        #[source]
        source: Box<ProgramError>,
    },
    /// The profile has no place for a probe that is needed.
    #[error("the profile lacks a site for `{event}`{}", reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default())]
    NoSite {
        /// The event.
        event: SiteRole,
        /// Why, where the profile says so.
        reason: Option<String>,
    },
    /// The argument is nowhere that the probe can read.
    #[error("the argument of `{function}` for `{event}` has no known place")]
    NoArgument {
        /// The event.
        event: SiteRole,
        /// The server's function.
        function: String,
    },
    /// The profile is not true of the program that runs.
    #[error("a probe of `{event}` would not stand on an instruction of its function")]
    Unproven {
        /// The event.
        event: SiteRole,
        /// What is wrong with its site.
        #[source]
        source: Box<SiteError>,
    },
    /// The probes cannot do what the profile says.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The server's program cannot be looked at, or is another by now.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A map is missing or refused an access.
    #[error("failed to access the map `{map}`")]
    Map {
        /// Its name.
        map: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ProbesError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotBuiltIn => {
                "build with `cargo xtask build`, which compiles the eBPF programs first"
            }
            Self::NoSite { .. } | Self::NoArgument { .. } => {
                "`poolferry symbols` shows what was found; install the server's debug symbols"
            }
            Self::Unproven { source, .. } => source.hint(),
            Self::Layout(error) => error.hint(),
            Self::Target(error) => {
                error.hint().unwrap_or("start again to attach to the server's new process")
            }
            Self::Map { source, .. } if source.is::<NotInObject>() => {
                "the eBPF programs in this build are of another version; `cargo xtask build` compiles them"
            }
            _ => "`poolferry doctor` tells which capability or kernel option is missing",
        }
    }

    fn map(map: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Map { map, source: Box::new(source) }
    }
}

/// The object was made from other sources than the agent.
#[derive(Debug, Error)]
#[error("not in the object")]
struct NotInObject;

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

/// The object that `build.rs` embedded, aligned as ELF parsers want it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/probes.o"));

/// What is set in the object before its maps are made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    /// Offsets in the server.
    pub(crate) layout: ServerLayout,
    /// How reads and writes are told apart.
    pub(crate) io: [Condition; 2],
    /// Entries of the residency table.
    pub(crate) blocks: u32,
    /// Chunks that they lie in.
    pub(crate) chunks: u32,
    /// Bytes of the trace ring.
    pub(crate) ring_bytes: u32,
    /// Level of aya-log, 0 for nothing.
    pub(crate) log_level: u8,
}

/// Loads the object with its maps, no program yet.
///
/// # Errors
/// When there is no object or the kernel refuses the maps.
pub(crate) fn load(settings: &Settings) -> Result<Ebpf, ProbesError> {
    if OBJECT.is_empty() {
        return Err(ProbesError::NotBuiltIn);
    }
    EbpfLoader::new()
        .override_global("LAYOUT", &settings.layout, true)
        .override_global("READING", &settings.io[0], true)
        .override_global("WRITING", &settings.io[1], true)
        .override_global("AYA_LOG_LEVEL", &settings.log_level, true)
        .map_max_entries("TABLE", settings.blocks.max(1))
        .map_max_entries("LAID", settings.blocks.max(1))
        .map_max_entries("CHUNKS", settings.chunks.max(1))
        .map_max_entries("TRACE", settings.ring_bytes.next_power_of_two().max(4096))
        .load(OBJECT)
        .map_err(|source| ProbesError::Load(Box::new(source)))
}

/// The attached programs of one server.
pub struct Probes {
    coverage: Coverage,
    /// One a probe in the server's text; gone first.
    links: Links,
    ebpf: Ebpf,
    counters: PerCpuArray<MapData, Counters>,
    latency: PerCpuArray<MapData, Histogram>,
    control: Array<MapData, Control>,
    state: Control,
}

impl Probes {
    /// Loads and attaches, and maps the residency table.
    ///
    /// # Errors
    /// When the object, a program, a site or a map is refused; nothing stays attached then.
    pub fn attach(
        target: &Target,
        profile: &Profile,
        layout: &Layout,
        geometry: &Geometry,
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
        let proven = residency
            .iter()
            .chain(queries)
            .map(|plan| Ok((plan, prove(&text, profile, plan)?)))
            .collect::<Result<Vec<_>, ProbesError>>()?;
        let mut ebpf = load(&Settings {
            layout: layout.for_probes(),
            io: layout.io_for_probes()?,
            blocks: geometry.blocks(),
            chunks: u32::try_from(geometry.chunks.len()).unwrap_or(u32::MAX),
            ring_bytes: options.ring_bytes,
            log_level: if options.log { aya_log::Level::Debug as u8 } else { 0 },
        })?;
        let table = Table::map(array(&ebpf, "TABLE")?, array(&ebpf, "LAID")?, geometry.blocks())
            .map_err(|source| ProbesError::map("TABLE", source))?;
        let counters = take(&mut ebpf, "COUNTERS")?;
        let latency = take(&mut ebpf, "LATENCY")?;
        let control = take(&mut ebpf, "CONTROL")?;
        let mut probes = Self {
            coverage,
            links: Links::default(),
            ebpf,
            counters,
            latency,
            control,
            state: Control::default(),
        };
        probes.set_geometry(layout, geometry)?;
        for (plan, sites) in &proven {
            let empty = options.empty && RESIDENCY.contains(plan);
            let program = if empty { "empty" } else { plan.program };
            for site in sites {
                probes.attach_site(target, plan, program, site)?;
            }
        }
        // The pid may be another process's by now, or have executed another program.
        if !target.is_alive() {
            return Err(TargetError::Gone { pid: target.pid }.into());
        }
        probes.state.settled = 1;
        probes.apply()?;
        Ok((probes, table))
    }

    fn attach_site(
        &mut self,
        target: &Target,
        plan: &Plan,
        program: &'static str,
        site: &ProvenSite<'_>,
    ) -> Result<(), ProbesError> {
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
        let refused = |source| ProbesError::Program { program, source: Box::new(source) };
        let uprobe: &mut UProbe = self
            .ebpf
            .program_mut(program)
            .ok_or(ProbesError::NotBuiltIn)?
            .try_into()
            .map_err(refused)?;
        if uprobe.fd().is_err() {
            uprobe.load().map_err(refused)?;
        }
        // A return probe replaces the return address, which must still be on top of the stack: it
        // belongs on the entry itself. Entry probes stand where one trap is enough.
        let offset = match uprobe.kind() {
            ProbeKind::Return => site.entry(),
            ProbeKind::Entry => site.probe(),
        };
        let scope = NonZeroU32::new(target.pid)
            .map_or(UProbeScope::CallingProcess, UProbeScope::OneProcess);
        let point =
            UProbeAttachPoint { location: UProbeAttachLocation::AbsoluteOffset(offset.0), cookie };
        let failed = |source| ProbesError::Attach {
            program,
            function: site.function().to_owned(),
            offset,
            path: foreign::path(&target.exe).to_string(),
            source: Box::new(source),
        };
        let link = uprobe.attach(point, site.path(), scope).map_err(failed)?;
        self.links.add(uprobe.take_link(link).map_err(failed)?);
        Ok(())
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
        self.links.count()
    }

    /// Tells the probes where the descriptors lie.
    ///
    /// # Errors
    /// When a map refuses it.
    pub fn set_geometry(
        &mut self,
        layout: &Layout,
        geometry: &Geometry,
    ) -> Result<(), ProbesError> {
        let list = geometry.for_probes(layout);
        let map = self.ebpf.map_mut("CHUNKS").ok_or_else(|| missing("CHUNKS"))?;
        let mut chunks: Array<_, probe_abi::Chunk> =
            Array::try_from(map).map_err(|source| ProbesError::map("CHUNKS", source))?;
        for (index, chunk) in (0..).zip(&list) {
            chunks.set(index, chunk, 0).map_err(|source| ProbesError::map("CHUNKS", source))?;
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
    pub fn counters(&self) -> Result<[Counters; PROBES], ProbesError> {
        let mut sums = [Counters::default(); PROBES];
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

    /// Takes the trace ring out, to be read by whoever shows the trace.
    ///
    /// # Errors
    /// When it was taken before.
    pub fn take_trace(&mut self) -> Result<RingBuf<MapData>, ProbesError> {
        let map = self.ebpf.take_map("TRACE").ok_or_else(|| missing("TRACE"))?;
        RingBuf::try_from(map).map_err(|source| ProbesError::map("TRACE", source))
    }

    /// Starts passing the programs' log records to this process's logger.
    ///
    /// # Errors
    /// When the programs have no log ring.
    pub fn take_log(&mut self) -> Result<aya_log::EbpfLogger<&'static dyn log::Log>, ProbesError> {
        aya_log::EbpfLogger::init(&mut self.ebpf)
            .map_err(|source| ProbesError::map("AYA_LOGS", source))
    }

    /// Run time in ns and number of runs of all programs, where the kernel counts them.
    #[must_use]
    pub fn run_time(&self) -> (u64, u64) {
        self.ebpf.programs().filter_map(|(_, program)| program.info().ok()).fold(
            (0, 0),
            |(ns, runs), info| {
                (
                    ns + u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX),
                    runs + info.run_count(),
                )
            },
        )
    }
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

/// The descriptor of an array that stays where it is.
fn array<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<BorrowedFd<'a>, ProbesError> {
    match ebpf.map(name) {
        Some(aya::maps::Map::Array(data)) => Ok(data.fd().as_fd()),
        _ => Err(missing(name)),
    }
}

fn missing(map: &'static str) -> ProbesError {
    ProbesError::map(map, NotInObject)
}

fn take<M: TryFrom<aya::maps::Map, Error = aya::maps::MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, ProbesError> {
    let map = ebpf.take_map(name).ok_or_else(|| missing(name))?;
    M::try_from(map).map_err(|source| ProbesError::map(name, source))
}
