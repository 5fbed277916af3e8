//! A virtual machine: one QEMU at one host.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::accelerator::Accelerator;
use crate::image::Image;
use crate::monitor::Monitor;
use crate::network::{Host, Network};
use crate::process::Process;
use crate::size::Size;
use crate::storage::{self, Storage};
use crate::wait;

/// QEMU opens its monitor within this time.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Far above any link here: what limits is the link.
const BANDWIDTH: u64 = 10 << 30;
/// QEMU's own default, made explicit.
const DOWNTIME_MS: u64 = 300;
/// Name of the RAM block of the guest's memory.
pub const MEMORY: &str = "mem0";

/// What all QEMUs of a laboratory have in common; source and destination differ in nothing that the guest sees.
#[derive(Debug, Clone)]
pub struct Hardware {
    /// QEMU's program, and what stands before its own arguments.
    pub qemu: Vec<String>,
    /// Variables of its environment.
    pub qemu_env: Vec<(String, String)>,
    /// `libpoolferry_qemu.so`; stock migrations do without.
    pub library: Option<PathBuf>,
    /// How guest code runs.
    pub accelerator: Accelerator,
    /// Guest RAM.
    pub memory: Size,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// A balloon by which the guest reports its free pages.
    pub balloon: bool,
}

/// The parts that it boots from.
#[derive(Debug)]
pub struct Devices<'a> {
    /// Kernel and root disk.
    pub image: &'a Image,
    /// The initial RAM disk.
    pub initramfs: &'a Path,
    /// The tools disk.
    pub tools: &'a Path,
    /// The database.
    pub data: &'a Storage,
}

/// Whether a QEMU boots the guest or waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Boots.
    Boot,
    /// `-incoming defer -S`: takes a migration on command, and then waits for `cont`.
    Incoming,
    /// `-incoming defer`: likewise, and runs as soon as it can. A VM whose memory follows it must not wait for that.
    IncomingAndRun,
}

/// A running QEMU. Dropped, it is killed.
#[derive(Debug)]
pub struct Machine {
    host: Host,
    process: Process,
    monitor: Monitor,
    folder: PathBuf,
}

impl Machine {
    /// Starts QEMU at `host` with its sockets in `folder`, which is made.
    ///
    /// # Errors
    /// QEMU does not start; the text has what it said.
    pub fn start(
        hardware: &Hardware,
        devices: &Devices<'_>,
        network: &Network,
        host: Host,
        start: Start,
        folder: PathBuf,
    ) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let (program, first) =
            hardware.qemu.split_first().map_or(("", [].as_slice()), |(p, r)| (p, r));
        let mut command = network.at(host, program);
        command.envs(hardware.qemu_env.iter().cloned());
        command.args(first).args(arguments(hardware, devices, host, start, &folder));
        let log = folder.join("qemu.log");
        let mut process = Process::start(command, "QEMU", &log)?;
        let socket = folder.join("lab.qmp");
        let mut monitor = wait::until("QEMU's monitor", START_LIMIT, || {
            process.still_runs()?;
            Ok(if socket.exists() { Monitor::connect(&socket).ok() } else { None })
        })?;
        // Once, as a host's administrator does, not before each migration: one that was broken off leaves its mark here.
        let limits = json!({ "max-bandwidth": BANDWIDTH, "downtime-limit": DOWNTIME_MS });
        monitor.execute("migrate-set-parameters", limits)?;
        Ok(Self { host, process, monitor, folder })
    }

    /// Where it runs.
    #[must_use]
    pub fn host(&self) -> Host {
        self.host
    }

    /// Process id of QEMU.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The laboratory's own monitor.
    pub fn monitor(&mut self) -> &mut Monitor {
        &mut self.monitor
    }

    /// A monitor socket for `poolferry-host`.
    #[must_use]
    pub fn qmp(&self) -> PathBuf {
        self.folder.join("qmp")
    }

    /// The host's end of the agent's port.
    #[must_use]
    pub fn agent(&self) -> PathBuf {
        self.folder.join("agent")
    }

    /// The host's end of the laboratory's port.
    #[must_use]
    pub fn port(&self) -> PathBuf {
        self.folder.join("lab")
    }

    /// The host's end of the terminal on which the guest has a shell.
    #[must_use]
    pub fn shell(&self) -> PathBuf {
        self.folder.join("shell")
    }

    /// What the guest wrote to its serial console.
    #[must_use]
    pub fn console(&self) -> String {
        let bytes = std::fs::read(self.folder.join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// QEMU's command line.
fn arguments(
    hardware: &Hardware,
    devices: &Devices<'_>,
    host: Host,
    start: Start,
    folder: &Path,
) -> Vec<String> {
    let mut line: Vec<String> = Vec::new();
    let mut add = |option: &str, value: String| line.extend([option.to_owned(), value]);
    let at = |name: &str| folder.join(name).display().to_string();
    add("-machine", format!("q35,memory-backend={MEMORY},vmport=off,i8042=off"));
    add("-accel", hardware.accelerator.option().to_owned());
    add("-cpu", "max".to_owned());
    add("-smp", hardware.vcpus.to_string());
    add("-m", format!("{}M", hardware.memory.in_mib()));
    add(
        "-object",
        format!("memory-backend-memfd,id={MEMORY},size={}M,share=on", hardware.memory.in_mib()),
    );
    for flag in ["-nodefaults", "-no-user-config", "-no-reboot"] {
        add(flag, String::new());
    }
    add("-display", "none".to_owned());
    add("-serial", format!("file:{}", at("console")));
    add("-serial", format!("unix:{},server=on,wait=off", at("shell")));
    for socket in ["lab.qmp", "qmp"] {
        add("-qmp", format!("unix:{},server=on,wait=off", at(socket)));
    }
    add("-device", "virtio-serial-pci,id=ports".to_owned());
    for (chardev, name) in [("agent", "org.poolferry.0"), ("lab", "org.poolferry.lab")] {
        add("-chardev", format!("socket,id={chardev},path={},server=on,wait=off", at(chardev)));
        add("-device", format!("virtserialport,bus=ports.0,chardev={chardev},name={name}"));
    }
    for (node, serial, file) in [
        ("root", "pf-root", devices.image.root_disk()),
        ("server", "pf-server", devices.image.server_disk()),
        ("tools", "pf-tools", devices.tools.to_owned()),
    ] {
        disk(&mut add, &read_only(node, &file), node, serial);
    }
    disk(&mut add, &devices.data.blockdev(host, "data"), "data", storage::SERIAL);
    if hardware.balloon {
        add("-object", "iothread,id=hints".to_owned());
        let balloon = "virtio-balloon-pci,free-page-hint=on,iothread=hints";
        add("-device", balloon.to_owned());
    }
    if let Some(library) = &hardware.library {
        add("-plugin", format!("file={}", library.display()));
    }
    // The destination has them too: a machine that differs is another machine.
    add("-kernel", devices.image.kernel().display().to_string());
    add("-initrd", devices.initramfs.display().to_string());
    // The kernel's test of the timer counts instructions, and fails without an accelerator on a busy machine.
    add("-append", "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check".to_owned());
    if start != Start::Boot {
        add("-incoming", "defer".to_owned());
    }
    if start == Start::Incoming {
        add("-S", String::new());
    }
    line.retain(|word| !word.is_empty());
    line
}

fn read_only(node: &str, file: &Path) -> Value {
    let direct = json!({ "direct": true, "no-flush": false });
    json!({
        "driver": "raw", "node-name": node, "read-only": true, "cache": direct,
        "file": { "driver": "file", "filename": file, "read-only": true, "cache": direct },
    })
}

fn disk(add: &mut impl FnMut(&str, String), node: &Value, name: &str, serial: &str) {
    add("-blockdev", node.to_string());
    add("-device", format!("virtio-blk-pci,drive={name},serial={serial}"));
}
