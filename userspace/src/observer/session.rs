//! Probes on one pool as it lies, with their table: made whole, then taken over.

use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use probe_abi::KernelLayout;

use super::error::ObserveError;
use super::options::ObserveOptions;
use super::rates::RateMeter;
use crate::audit::Auditor;
use crate::pool_map::PoolMap;
use crate::probes::Probes;
use crate::residency::Residency;
use crate::server::Server;
use crate::validation::{Validation, validate};

/// What goes on from one session to the next.
#[derive(Clone, Copy)]
pub(super) struct Switches {
    pub(super) options: ObserveOptions,
    /// What the walk in the probes needs, while it is on.
    pub(super) kernel: Option<KernelLayout>,
    /// Whether the programs' log records are passed on.
    pub(super) log: bool,
}

/// A session that nothing depends on yet.
pub(super) struct Session {
    pub(super) validation: Validation,
    pub(super) probes: Probes,
    pub(super) residency: Residency,
    pub(super) ring: RingBuf<MapData>,
    pub(super) log: Option<EbpfLogger<&'static dyn log::Log>>,
    pub(super) rates: RateMeter,
}

impl Session {
    /// Proves the profile on `pool_map`, sets probes, and lays the scan under their table, so that nothing falls
    /// between. Where a step fails, the probes are taken out again and `server` is as it was.
    pub(super) fn begin(
        server: &Server,
        pool_map: &PoolMap,
        switches: Switches,
    ) -> Result<Self, ObserveError> {
        let validation = validate(server.memory(), &server.layout, pool_map)?;
        let (target, profile) = (&server.target, server.profile());
        let options = switches.options;
        let (mut probes, table) =
            Probes::attach(target, profile, &server.layout, pool_map, options.probes)?;
        let mut residency = Residency::new(table);
        if probes.see_events() {
            Auditor::lay_base(server.memory(), &server.layout, pool_map, &mut residency)?;
        }
        let ring = probes.take_trace()?;
        probes.set_trace(options.trace)?;
        probes.set_walk(switches.kernel)?;
        let log = switches.log.then(|| probes.take_log()).transpose()?;
        let mut rates = RateMeter::default();
        rates.advance(&probes)?;
        Ok(Self { validation, probes, residency, ring, log, rates })
    }
}
