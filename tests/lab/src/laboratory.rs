//! A laboratory: all of its parts, in the order in which they come and go.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use migration_record::GuestSystem;
use qemu_glue::agent::Reading;
use rustix::process::Signal;
use test_servers::cache::Cache;

use crate::database::{Database, Known};
use crate::gauge::Gauge;
use crate::guest::{Guest, SERVER};
use crate::image::{Image, Tools, make_tools};
use crate::mode::Mode;
use crate::network::{Host, Network};
use crate::scratch::LabFolder;
use crate::setup::{Programs, Setup};
use crate::steps::step;
use crate::storage::Storage;
use crate::vm::{Devices, Hardware, Machine, Start};
use crate::workload::{self, GuestSecond, Workload};
use crate::{check, server, wait};

/// Name of the agent in the guest.
pub const AGENT: &str = "agent";

/// What the agent logs when its probes are set.
const ATTACHED: &str = "attached to ";
/// Symbols are read and probes set within this time, without an accelerator.
const ATTACH_LIMIT: Duration = Duration::from_secs(180);
/// A server writes its dirty pages and ends within this time.
const RESTART_LIMIT: Duration = Duration::from_secs(120);

/// Files in the laboratory's folder.
const TOOLS: &str = "tools.raw";
const INITRAMFS: &str = "initramfs";

/// A VM that runs at one of two hosts.
// Fields are dropped in this order: what runs goes before what it runs on.
#[derive(Debug)]
pub struct Laboratory {
    pub(crate) machine: Machine,
    pub(crate) guest: Guest,
    pub(crate) storage: Storage,
    pub(crate) network: Network,
    pub(crate) setup: Setup,
    /// What runs in the VM, once the server has said it.
    pub(crate) system: GuestSystem,
    running: Workload,
    written: bool,
    pub(crate) programs: Programs,
    hardware: Hardware,
    image: Image,
    database: Database,
    machines: u32,
    gauge: Option<Gauge>,
    readings: Vec<Reading>,
    /// Of a load that was ended to be started anew, until asked for.
    earlier: Vec<GuestSecond>,
    pub(crate) scratch: LabFolder,
}

impl Laboratory {
    /// Makes what is not in the cache, and boots the VM at host A.
    ///
    /// # Errors
    /// A program that is needed is missing or fails; the text says which.
    pub fn boot(cache: &Cache, setup: Setup, programs: Programs) -> Result<Self> {
        step("server", || setup.server.fetch().map(drop))?;
        let image =
            step("guest image", || Image::ready(cache, setup.suite.as_deref(), setup.server))?;
        let database =
            step("database", || Database::ready(cache, setup.server, setup.pool, setup.fill))?;
        let scratch = LabFolder::new(cache)?;
        let network = step("namespaces and links", || {
            Network::new(&scratch, setup.network_rate, setup.storage_rate)
        })?;
        let data = scratch.path().join("data.raw");
        let storage = step("storage", || {
            database.copy_to(&data)?;
            Storage::new(setup.storage, data, scratch.path().join("storage.log"), &network)
        })?;
        let tools =
            Tools { lab_guest: programs.lab_guest.clone(), poolferry: programs.poolferry.clone() };
        step("tools disk", || {
            let my_cnf = server::my_cnf(setup.server, setup.pool);
            make_tools(&tools, &my_cnf, &scratch.path().join(TOOLS))?;
            image.make_initramfs(&scratch.path().join(INITRAMFS))
        })?;
        let hardware = Hardware {
            qemu: programs.qemu.clone(),
            qemu_env: programs.qemu_env.clone(),
            library: programs.library.clone(),
            accelerator: setup.accel,
            memory: setup.memory,
            vcpus: setup.vcpus,
            balloon: setup.balloon,
        };
        let [tools, initramfs] = [TOOLS, INITRAMFS].map(|name| scratch.path().join(name));
        let devices =
            Devices { image: &image, initramfs: &initramfs, tools: &tools, data: &storage };
        let folder = scratch.path().join("vm-0");
        let mut machine =
            Machine::start(&hardware, &devices, &network, Host::A, Start::Boot, folder)?;
        let guest = step("boot", || Guest::boots(&mut machine))?;
        Ok(Self {
            machine,
            guest,
            storage,
            network,
            setup,
            system: GuestSystem::default(),
            running: Workload::Idle,
            written: false,
            programs,
            hardware,
            image,
            database,
            machines: 1,
            gauge: None,
            readings: Vec::new(),
            earlier: Vec::new(),
            scratch,
        })
    }

    /// Starts the server, fills its pool, and starts the ticks.
    ///
    /// # Errors
    /// A program in the guest fails; the text has what it wrote.
    pub fn busy(&mut self) -> Result<()> {
        let Self { guest, database, setup, .. } = self;
        step("the server starts", || guest.start_server(setup.server))?;
        self.system = guest.system(setup.server)?;
        step("the pool fills", || workload::warm(guest, database.known()))?;
        guest.tick()
    }

    /// From now on the database is busy with `workload`; for [`Workload::Idle`] its pool is clean.
    ///
    /// # Errors
    /// The load before has ended by an error, or the new one does not run.
    pub fn load(&mut self, workload: Workload) -> Result<()> {
        let Self { guest, setup, database, running, written, .. } = self;
        if *running == workload {
            return Ok(());
        }
        workload::stop(guest, *running)?;
        *running = Workload::Idle;
        step(&format!("load: {}", workload.name()), || match workload {
            Workload::Idle => workload::settle(guest),
            _ => workload::start(guest, workload, setup.threads, database.known()),
        })?;
        *running = workload;
        *written |= workload == Workload::Rw;
        Ok(())
    }

    /// Throws the buffer pool away: restarts the server, which then has read nothing, and drops the guest's page cache. The
    /// load is stopped for it and started again; [`Self::seconds`] has what it reported before.
    ///
    /// # Errors
    /// The server does not end, or does not start.
    pub fn empty_pool(&mut self) -> Result<()> {
        self.earlier = workload::seconds(&mut self.guest);
        let running = std::mem::replace(&mut self.running, Workload::Idle);
        let guest = &mut self.guest;
        // The server writes its dirty pages when it ends; nobody waits for them before.
        workload::stop(guest, running)?;
        let release = self.setup.server;
        step("the server restarts with an empty pool", || {
            guest.signal(SERVER, Signal::TERM)?;
            wait::until("the end of the server", RESTART_LIMIT, || {
                Ok(guest.how_ended(SERVER).map(drop))
            })?;
            guest.run(&["sh", "-c", "echo 3 > /proc/sys/vm/drop_caches"], "")?;
            guest.start_server(release)
        })?;
        self.load(running)
    }

    /// Fills the pool again, after [`Self::empty_pool`].
    ///
    /// # Errors
    /// The server fails.
    pub fn fill_pool(&mut self) -> Result<()> {
        let running = self.running;
        self.load(Workload::Idle)?;
        let Self { guest, database, .. } = self;
        step("the pool fills", || workload::warm(guest, database.known()))?;
        self.load(running)
    }

    /// Starts the agent and waits until its probes are set.
    ///
    /// # Errors
    /// The laboratory was started without one, or it ends.
    pub fn start_agent(&mut self) -> Result<()> {
        ensure!(self.programs.poolferry.is_some(), "no agent: `poolferry` is not built");
        let guest = &mut self.guest;
        step("the agent attaches", || {
            guest.start(AGENT, &["/lab/poolferry", "agent", "--queries", "--verbose"], &[])?;
            let mut log = Vec::new();
            let attached = wait::until("the agent's probes", ATTACH_LIMIT, || {
                log = guest.lines(AGENT).iter().map(|line| line.text.clone()).collect();
                if let Some(status) = guest.how_ended(AGENT) {
                    bail!("the agent ended in the guest: {status}");
                }
                Ok(log.iter().any(|line| line.contains(ATTACHED)).then_some(()))
            });
            attached.with_context(|| format!("log of the agent in the guest:\n{}", log.join("\n")))
        })
    }

    /// What the agent in the guest has written so far.
    pub fn agent_log(&mut self) -> String {
        self.guest.lines(AGENT).iter().map(|line| line.text.clone() + "\n").collect()
    }

    /// From now on the probes in the guest are asked how the load is, until [`Self::gauge_off`].
    ///
    /// # Errors
    /// No thread can be started.
    pub fn gauge_on(&mut self) -> Result<()> {
        self.gauge_off();
        self.gauge = Some(Gauge::begin(self.machine.agent())?);
        Ok(())
    }

    /// Leaves the agent's port to others.
    pub fn gauge_off(&mut self) {
        if let Some(gauge) = self.gauge.take() {
            self.readings.extend(gauge.end());
        }
    }

    /// All seconds that the load has reported.
    pub fn seconds(&mut self) -> Vec<GuestSecond> {
        let mut seconds = std::mem::take(&mut self.earlier);
        seconds.extend(workload::seconds(&mut self.guest));
        seconds
    }

    /// What was received since the last call.
    pub fn readings(&mut self) -> Vec<Reading> {
        std::mem::take(&mut self.readings)
    }

    /// Starts a QEMU at the other host that waits for the VM, in the way of `mode`.
    ///
    /// # Errors
    /// It does not start.
    pub fn destination(&mut self, mode: Mode) -> Result<Machine> {
        let start = if mode.is_compared() { Start::Incoming } else { Start::IncomingAndRun };
        let folder = self.scratch.path().join(format!("vm-{}", self.machines));
        self.machines += 1;
        let [tools, initramfs] = [TOOLS, INITRAMFS].map(|name| self.scratch.path().join(name));
        let devices = Devices {
            image: &self.image,
            initramfs: &initramfs,
            tools: &tools,
            data: &self.storage,
        };
        let host = self.machine.host().other();
        Machine::start(&self.hardware, &devices, &self.network, host, start, folder)
    }

    /// Ends the load, and reads the whole database.
    ///
    /// # Errors
    /// It is not what it must be.
    pub fn check(&mut self) -> Result<()> {
        self.load(Workload::Idle)?;
        let Self { guest, database, written, .. } = self;
        step("every table is checked", || check::database(guest, database.known(), *written))
    }

    /// The guest.
    pub fn guest(&mut self) -> &mut Guest {
        &mut self.guest
    }

    /// The QEMU that the VM runs in.
    pub fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// The disk.
    pub fn storage(&mut self) -> &mut Storage {
        &mut self.storage
    }

    /// Whether the guest reports its free pages.
    #[must_use]
    pub fn has_balloon(&self) -> bool {
        self.hardware.balloon
    }

    /// The links.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// What is known of the tables.
    #[must_use]
    pub fn known(&self) -> &Known {
        self.database.known()
    }

    /// Folder for the files of this laboratory.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }
}
