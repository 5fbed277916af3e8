//! One server observed: the stages put together, and a snapshot of it on request.
//!
//! ```text
//! target -> server (profile, pool map, validation) -> probes + table -> base scan
//!                                     then, over and over:  trace, counters, audit -> snapshot
//! ```

mod block_counts;
mod error;
mod options;
mod rates;
mod session;
mod snapshot;
mod spaces;
mod trace;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use aya_log::EbpfLogger;
use foreign::Text;
use probe_abi::KernelLayout;

use crate::audit::Auditor;
use crate::cost::Meter;
use crate::frames::{Frames, FramesError, Walk};
use crate::locate::Locator;
use crate::model::Snapshot;
use crate::page_list::{self, Built, ListCache};
use crate::pool_map::{PoolMap, PoolMapError};
use crate::probes::{Coverage, Probes};
use crate::residency::Residency;
use crate::server::Server;
use crate::target::Target;
use crate::validation::ValidationError;
use block_counts::BlockCounts;
pub use error::ObserveError;
pub use options::ObserveOptions;
use rates::RateMeter;
use session::{Session, Switches};
use spaces::Spaces;
use trace::Trace;

/// Most of one CPU that scanning descriptors for the live snapshot may take.
const SCAN_SHARE: u32 = 50; // one fiftieth: 2 %

/// How often the server's files are looked at.
const FILES_EVERY: Duration = Duration::from_secs(2);
/// How long a server whose pool cannot be read any more has to end, before that counts as a fault.
const ENDING: Duration = Duration::from_secs(2);
/// Looks at a changed pool that may fail to prove the profile.
const MOST_UNPROVEN: u32 = 5;
/// How long a snapshot waits for the files. A few thousand are looked at within.
const SNAPSHOT_PATIENCE: Duration = Duration::from_millis(50);
/// How long attaching and a list wait for them: what was known before serves as well, and each page is
/// proven.
const FILES_PATIENCE: Duration = Duration::from_secs(2);
/// How long a list waits for the first look.
const FIRST_PATIENCE: Duration = Duration::from_secs(20);

/// An observed server.
pub struct Observer {
    server: Server,
    options: ObserveOptions,
    probes: Probes,
    residency: Residency,
    auditor: Auditor,
    locator: Locator,
    spaces: Spaces,
    frames: Option<Frames>,
    prepared: ListCache,
    trace: Trace,
    /// What the walk in the probes needs, while it is on.
    kernel: Option<KernelLayout>,
    /// The programs' log records, while they are passed on.
    log: Option<EbpfLogger<&'static dyn log::Log>>,
    meter: Meter,
    rates: RateMeter,
    attached: Instant,
    next_scan: Instant,
    next_files: Instant,
    notices: Vec<Text>,
    /// What the last scan found, where only scans find anything.
    scanned: Option<BlockCounts>,
    /// Looks in a row at a changed pool that did not prove the profile.
    unproven: u32,
}

impl Observer {
    /// Attaches to a server: probes first, then the scan of what was there before.
    ///
    /// # Errors
    /// When any stage fails; nothing stays attached then.
    pub fn attach(
        target: Target,
        symbols: &symbols::Options,
        options: ObserveOptions,
    ) -> Result<Self, ObserveError> {
        Self::on(Server::open(target, symbols)?, options)
    }

    /// As [`attach`](Self::attach), to a server that has proven itself.
    ///
    /// # Errors
    /// As there.
    pub fn on(server: Server, options: ObserveOptions) -> Result<Self, ObserveError> {
        let (pid, family) = (server.target.pid, &server.profile().server.family);
        let locator = Locator::of_within(pid, family, FILES_PATIENCE)?;
        let switches = Switches { options, kernel: None, log: false };
        let Session { validation: _, probes, residency, ring, log, rates } =
            Session::begin(&server, &server.pool_map, switches)?;
        let now = Instant::now();
        Ok(Self {
            spaces: Spaces::of(&locator),
            server,
            options,
            probes,
            residency,
            auditor: Auditor::default(),
            locator,
            frames: None,
            prepared: ListCache::default(),
            trace: Trace::new(ring),
            kernel: None,
            log,
            meter: Meter::start(options.statistics),
            rates,
            attached: now,
            next_scan: now,
            next_files: now + FILES_EVERY,
            notices: Vec::new(),
            scanned: None,
            unproven: 0,
        })
    }

    /// The server.
    #[must_use]
    pub const fn server(&self) -> &Server {
        &self.server
    }

    /// The probes.
    #[must_use]
    pub const fn probes(&self) -> &Probes {
        &self.probes
    }

    /// The server's files.
    #[must_use]
    pub const fn locator(&self) -> &Locator {
        &self.locator
    }

    /// From now on, [`Observer::drain_trace`] passes the programs' log records to this process's logger.
    ///
    /// # Errors
    /// When it was called before, or the programs log nothing.
    pub fn pass_log_on(&mut self) -> Result<(), ObserveError> {
        self.log = Some(self.probes.take_log()?);
        Ok(())
    }

    /// Switches trace records.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_trace(&mut self, on: bool) -> Result<(), ObserveError> {
        self.options.trace = on;
        Ok(self.probes.set_trace(on)?)
    }

    /// Switches the page-table walk in the probes: trace records then carry the frame.
    ///
    /// # Errors
    /// When the kernel's layout cannot be found or proven.
    pub fn set_walk(&mut self, on: bool) -> Result<(), ObserveError> {
        let kernel = if on {
            Some(Walk::open(self.server.target.pid).map_err(FramesError::from)?.kernel())
        } else {
            None
        };
        self.probes.set_walk(kernel)?;
        self.kernel = kernel;
        Ok(())
    }

    /// Empties the trace ring and the log; to be called a few times a second while tracing.
    pub fn drain_trace(&mut self) {
        self.trace.drain();
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    /// One audit now (of a server that can only be scanned there is nothing to audit), whatever the snapshot's own rhythm; returns the drift found.
    ///
    /// # Errors
    /// When the server is gone, or its pool is being resized.
    pub fn audit(&mut self) -> Result<u64, ObserveError> {
        self.check_server()?.or_error()?;
        if !self.probes.see_events() {
            return Ok(0);
        }
        Ok(self.auditor.scan(&self.server, &mut self.residency, |_, _| {})?)
    }

    /// What all audits found.
    #[must_use]
    pub const fn audited(&self) -> crate::model::Audit {
        self.auditor.totals()
    }

    /// What the probes and scans know of each block.
    #[must_use]
    pub const fn residency(&self) -> &Residency {
        &self.residency
    }

    /// Makes the page list of this moment, from the one made before where that still holds.
    ///
    /// # Errors
    /// When the server is gone, its pool is being resized, or something cannot be read.
    pub fn page_list(&mut self) -> Result<Built, ObserveError> {
        let has_looked = self.locator.has_looked();
        self.page_list_within(if has_looked { FILES_PATIENCE } else { FIRST_PATIENCE })
    }

    /// Makes a list in advance, so that the next one has less to do; waits for no file.
    ///
    /// # Errors
    /// As [`Self::page_list`].
    pub fn prepare_list(&mut self) -> Result<Built, ObserveError> {
        self.page_list_within(SNAPSHOT_PATIENCE)
    }

    fn page_list_within(&mut self, patience: Duration) -> Result<Built, ObserveError> {
        self.locator.set_patience(patience);
        self.check_server()?.or_error()?;
        let frames = match &mut self.frames {
            Some(frames) => frames,
            none => {
                let (frames, why) = Frames::open(self.server.target.pid)?;
                if let Some(error) = why {
                    log::warn!("pagemap serves the list: {error}");
                }
                none.insert(frames)
            }
        };
        let Self { server, residency, locator, prepared, .. } = self;
        let residency = self.probes.see_events().then_some(&*residency);
        let built = page_list::rebuild(server, residency, locator, frames, prepared)?;
        // What was written since the probes have gone the table does not know.
        self.probes.check()?;
        Ok(built)
    }

    /// Makes a snapshot of this moment.
    ///
    /// # Errors
    /// When the server is gone or something cannot be read.
    pub fn snapshot(&mut self) -> Result<Arc<Snapshot>, ObserveError> {
        self.notices.clear();
        let pool = self.check_server()?;
        let now = Instant::now();
        if now >= self.next_files {
            if self.locator.poll(SNAPSHOT_PATIENCE)? {
                self.spaces = Spaces::of(&self.locator);
            }
            self.next_files = now + FILES_EVERY;
        }
        self.notices.extend(self.locator.notice().map(Text::from));
        self.trace.drain();
        let counts = if now >= self.next_scan && matches!(pool, Pool::Settled) {
            let counts = self.count_by_scan();
            self.next_scan = now + now.elapsed() * SCAN_SHARE;
            match counts {
                // A resize may begin between the look at the pool map and the scan.
                Err(ObserveError::Memory(error)) if !error.is_gone() => {
                    self.notices.push(format!("no scan this time: {error}").into());
                    self.count_without_scan()
                }
                other => other?,
            }
        } else {
            self.count_without_scan()
        };
        if let Coverage::ScanOnly { lacking } = self.probes.coverage() {
            self.notices.push(Text::from(format!(
                "scanned only: no probe for {lacking}; what is shown is as old as the last scan, and a list costs one"
            )));
            self.scanned = Some(counts.clone());
        }
        Ok(Arc::new(self.compose(counts)?))
    }

    /// Notices an exit, an exec, probes that are gone, and a resize.
    fn check_server(&mut self) -> Result<Pool, ObserveError> {
        if !self.server.target.is_alive() {
            return Err(ObserveError::Exited { pid: self.server.target.pid });
        }
        self.probes.check()?;
        match self.server.current_pool_map() {
            Ok(pool_map) if pool_map == self.server.pool_map => {
                self.unproven = 0;
                Ok(Pool::Settled)
            }
            Ok(pool_map) => match self.follow(pool_map) {
                Ok(()) => {
                    self.unproven = 0;
                    Ok(Pool::Settled)
                }
                Err(ObserveError::Validation(error)) if self.may_still_resize(&error) => {
                    self.notices.push(error.to_string().into());
                    Ok(Pool::Unsettled(PoolMapError::Resizing))
                }
                Err(error) => Err(error),
            },
            Err(error) if error.is_passing() => {
                self.notices.push(error.to_string().into());
                Ok(Pool::Unsettled(error))
            }
            // A server that shuts down frees its pool some time before it is gone.
            Err(_) if self.ends_soon() => Err(ObserveError::Exited { pid: self.server.target.pid }),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the next look at a changed pool may prove what this one did not: its lists change before the rest of it, and one
    /// that was emptied gets pages again.
    fn may_still_resize(&mut self, error: &ValidationError) -> bool {
        self.unproven += u32::from(error.may_be_a_resize());
        match error {
            ValidationError::Empty => true,
            error => error.may_be_a_resize() && self.unproven <= MOST_UNPROVEN,
        }
    }

    /// Whether the process ends within [`ENDING`].
    fn ends_soon(&self) -> bool {
        let until = Instant::now() + ENDING;
        while self.server.target.is_alive() {
            if Instant::now() >= until {
                return false;
            }
            thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// New probes with a table of the right size, and a new base. Counters begin anew. All of it is made before any
    /// of it is taken: where a step fails, pool and table go together still, and the next look tries again.
    fn follow(&mut self, pool_map: PoolMap) -> Result<(), ObserveError> {
        let switches =
            Switches { options: self.options, kernel: self.kernel, log: self.log.is_some() };
        let next = Session::begin(&self.server, &pool_map, switches)?;
        let lost = self.probes.counters()?.iter().map(|counters| counters.ring_lost).sum();
        // From here on nothing fails.
        self.notices.push(Text::from(format!(
            "the pool was resized from {} to {} blocks",
            self.server.pool_map.blocks(),
            pool_map.blocks()
        )));
        self.server.adopt(pool_map, next.validation);
        self.trace.change(next.ring, lost);
        self.probes = next.probes;
        self.residency = next.residency;
        self.log = next.log;
        self.rates = next.rates;
        self.scanned = None;
        // Words of the new table mean something else.
        self.prepared = ListCache::default();
        Ok(())
    }
}

/// Whether descriptors may be read where they were.
enum Pool {
    Settled,
    /// Starting or being resized: chunks may be unmapped at any moment.
    Unsettled(PoolMapError),
}

impl Pool {
    fn or_error(self) -> Result<(), PoolMapError> {
        match self {
            Self::Settled => Ok(()),
            Self::Unsettled(error) => Err(error),
        }
    }
}
