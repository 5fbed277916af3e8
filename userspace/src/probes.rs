//! The eBPF programs in the kernel: loading them for one server, attaching, reading what they count.
//!
//! Everything is held by file descriptors of this process: when it ends, however it ends, the kernel
//! takes the probes out of the server's text and frees the maps.

use std::num::NonZeroU32;
use std::os::fd::AsFd as _;

use aya::maps::{Array, MapData, PerCpuArray, RingBuf};
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeScope};
use aya::programs::{ProbeKind, ProgramError, UProbe};
use aya::{Ebpf, EbpfLoader};
use probe_abi::links::Links;
use probe_abi::{Control, Cookie, Counters, Histogram, KernelLayout, PROBES, Probe, ServerLayout};
use symbols::profile::{ArgLoc, Profile, Site};
use thiserror::Error;

use crate::geometry::Geometry;
use crate::layout::Layout;
use crate::residency::Table;
use crate::target::Target;

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
        event: &'static str,
        /// Why, where the profile says so.
        reason: Option<String>,
    },
    /// The argument is nowhere that the probe can read.
    #[error("the argument of `{function}` for `{event}` has no known place")]
    NoArgument {
        /// The event.
        event: &'static str,
        /// The server's function.
        function: String,
    },
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
            _ => "`poolferry doctor` tells which capability or kernel option is missing",
        }
    }

    fn map(map: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Map { map, source: Box::new(source) }
    }
}

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
    /// Entries of the residency table.
    pub(crate) blocks: u32,
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
        .override_global("AYA_LOG_LEVEL", &settings.log_level, true)
        .map_max_entries("TABLE", settings.blocks.max(1))
        .map_max_entries("TRACE", settings.ring_bytes.next_power_of_two().max(4096))
        .load(OBJECT)
        .map_err(|source| ProbesError::Load(Box::new(source)))
}

/// One program to attach: where, with which argument, at the entry or the return.
struct Plan {
    program: &'static str,
    event: &'static str,
    /// Which of the site's arguments the program wants.
    argument: Option<usize>,
    /// An event that only some versions have.
    optional: bool,
}

const RESIDENCY: [Plan; 4] = [
    Plan {
        program: "page_io_complete",
        event: "page_io_complete",
        argument: Some(0),
        optional: false,
    },
    Plan { program: "page_dirty", event: "page_dirty", argument: Some(0), optional: false },
    Plan { program: "page_dirty", event: "page_dirty_sorted", argument: Some(0), optional: true },
    Plan { program: "block_free", event: "block_free", argument: Some(0), optional: false },
];

const QUERIES: [Plan; 4] = [
    Plan { program: "query_start", event: "query", argument: Some(0), optional: false },
    Plan { program: "query_end", event: "query", argument: None, optional: false },
    Plan { program: "commit_start", event: "trx_commit", argument: None, optional: false },
    Plan { program: "commit_end", event: "trx_commit", argument: None, optional: false },
];

/// Checks that the profile has every site of the events that the residency table lives on.
///
/// # Errors
/// [`ProbesError::NoSite`] where an event has no site, or a copy of its function has none.
pub fn check_sites(profile: &Profile) -> Result<(), ProbesError> {
    RESIDENCY.iter().try_for_each(|plan| sites_of(profile, plan).map(drop))
}

/// The sites of an event. Some of its copies are not enough: through the others a page would become
/// dirty, or leave, unseen.
fn sites_of<'a>(profile: &'a Profile, plan: &Plan) -> Result<&'a [Site], ProbesError> {
    let sites = profile.sites.get(plan.event).map(Vec::as_slice).unwrap_or_default();
    let lacking = profile.lacking("site").any(|missing| missing.role == plan.event);
    if lacking || (sites.is_empty() && !plan.optional) {
        let mut missing = profile.missing.iter();
        let missing = missing.find(|m| m.what == "site" && m.role == plan.event);
        return Err(ProbesError::NoSite {
            event: plan.event,
            reason: missing.map(|m| format!("`{}`: {}", m.name, m.reason)),
        });
    }
    Ok(sites)
}

/// The attached programs of one server.
pub struct Probes {
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
        check_sites(profile)?;
        let mut ebpf = load(&Settings {
            layout: layout.for_probes(),
            blocks: geometry.blocks(),
            ring_bytes: options.ring_bytes,
            log_level: if options.log { aya_log::Level::Debug as u8 } else { 0 },
        })?;
        let table = {
            let map = ebpf.map("TABLE").ok_or_else(|| missing("TABLE"))?;
            let aya::maps::Map::Array(data) = map else { return Err(missing("TABLE")) };
            Table::map(data.fd().as_fd(), geometry.blocks())
                .map_err(|source| ProbesError::map("TABLE", source))?
        };
        let counters = take(&mut ebpf, "COUNTERS")?;
        let latency = take(&mut ebpf, "LATENCY")?;
        let control = take(&mut ebpf, "CONTROL")?;
        let mut probes = Self {
            links: Links::default(),
            ebpf,
            counters,
            latency,
            control,
            state: Control::default(),
        };
        probes.set_geometry(layout, geometry)?;
        for plan in &RESIDENCY {
            let program = if options.empty { "empty" } else { plan.program };
            probes.attach_plan(target, profile, plan, program)?;
        }
        if options.queries {
            for plan in &QUERIES {
                probes.attach_plan(target, profile, plan, plan.program)?;
            }
        }
        probes.state.settled = 1;
        probes.apply()?;
        Ok((probes, table))
    }

    fn attach_plan(
        &mut self,
        target: &Target,
        profile: &Profile,
        plan: &Plan,
        program: &'static str,
    ) -> Result<(), ProbesError> {
        for site in sites_of(profile, plan)? {
            self.attach_site(target, plan, program, site)?;
        }
        Ok(())
    }

    fn attach_site(
        &mut self,
        target: &Target,
        plan: &Plan,
        program: &'static str,
        site: &Site,
    ) -> Result<(), ProbesError> {
        let cookie = match plan.argument {
            None => None,
            Some(n) => Some(cookie(site.args.get(n)).ok_or_else(|| ProbesError::NoArgument {
                event: plan.event,
                function: site.function.clone(),
            })?),
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
            ProbeKind::Return => {
                site.file_offset.0.wrapping_sub(site.probe.0.wrapping_sub(site.entry.0))
            }
            ProbeKind::Entry => site.file_offset.0,
        };
        let scope = NonZeroU32::new(target.pid)
            .map_or(UProbeScope::CallingProcess, UProbeScope::OneProcess);
        let point =
            UProbeAttachPoint { location: UProbeAttachLocation::AbsoluteOffset(offset), cookie };
        let failed = |source| ProbesError::Attach {
            program,
            function: site.function.clone(),
            offset: symbols::addr::FileOff(offset),
            path: target.program().display().to_string(),
            source: Box::new(source),
        };
        let link = uprobe.attach(point, target.program(), scope).map_err(failed)?;
        self.links.add(uprobe.take_link(link).map_err(failed)?);
        Ok(())
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

fn missing(map: &'static str) -> ProbesError {
    ProbesError::Map { map, source: "not in the object".into() }
}

fn take<M: TryFrom<aya::maps::Map, Error = aya::maps::MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, ProbesError> {
    let map = ebpf.take_map(name).ok_or_else(|| missing(name))?;
    M::try_from(map).map_err(|source| ProbesError::map(name, source))
}

/// Packs an argument's place for the probe; `None` where the probe cannot read it.
fn cookie(place: Option<&ArgLoc>) -> Option<u64> {
    let register = |reg: u16| u8::try_from(reg).ok().filter(|reg| *reg < 16);
    match *place? {
        ArgLoc::Register { reg } => Some(Cookie::register(register(reg)?).0),
        ArgLoc::Memory { reg, offset } => {
            Some(Cookie::memory(register(reg)?, i32::try_from(offset).ok()?).0)
        }
        ArgLoc::Constant { .. } | ArgLoc::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use symbols::profile::Missing;
    use symbols::reason::Reason;

    use super::*;

    fn stored() -> Profile {
        let text = include_str!("../../symbols/profiles/mysql-9.7.4-debian-amd64.json");
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn an_event_that_is_covered_in_part_is_refused() {
        check_sites(&stored()).unwrap();
        let lacking = |role: &str, required| {
            let mut profile = stored();
            profile.missing.push(Missing {
                what: "site".to_owned(),
                role: role.to_owned(),
                name: "f in g at 0x10".to_owned(),
                required,
                reason: Reason::OptimisedOut,
            });
            check_sites(&profile)
        };
        for plan in &RESIDENCY {
            let error = lacking(plan.event, true).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(plan.event), "{text}");
            assert!(error.hint().contains("debug symbols"));
        }
        let text = lacking("page_dirty", true).unwrap_err().to_string();
        assert!(text.contains("`f in g at 0x10`"), "{text}");
        lacking("page_dirty_sorted", false).unwrap();
        lacking("query", true).unwrap();

        let mut profile = stored();
        profile.sites.remove("block_free");
        assert!(check_sites(&profile).unwrap_err().to_string().contains("block_free"));
    }
}
