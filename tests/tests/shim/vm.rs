//! A QEMU under test: started, asked, killed with its test.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use qemu_glue::guest::GuestRam;
use qemu_glue::qmp::Qmp;
use serde_json::{Value, json};
use test_qemus::Qemu;

use crate::guest::{self, Busy, DONE, MEMORY};
use crate::lab::{Lab, wait_for};

/// Name of the memory backend, and so of the RAM block.
pub(crate) const BLOCK: &str = "mem0";

/// How the library comes in.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Library {
    #[default]
    Plugin,
    Preload,
    None,
}

/// What a VM is to be like.
#[derive(Default)]
pub(crate) struct Options<'a> {
    pub(crate) library: Library,
    /// Waits for a migration, paused.
    pub(crate) incoming: bool,
    pub(crate) busy: Busy,
    /// The guest's disk cannot be written.
    pub(crate) read_only: bool,
    /// In place of the laboratory's.
    pub(crate) qemu: Option<&'a Qemu>,
    pub(crate) arguments: &'a [&'a str],
}

impl Options<'_> {
    /// A destination.
    pub(crate) fn incoming() -> Self {
        Options { incoming: true, library: Library::None, ..Options::default() }
    }
}

/// A running QEMU.
pub(crate) struct Vm {
    child: Child,
    pub(crate) qmp: Qmp,
    pub(crate) pid: u32,
    pub(crate) memory: File,
    /// Addresses that RAM identity leaves out: what the guest writes, on TCG before 9.0. There QEMU misses
    /// writes in a stock migration too (its fix 03bfc2188f; seen here with 7.2 and no library: up to all of
    /// the written pages stay old at the destination).
    pub(crate) excused: Range<u64>,
}

impl Vm {
    /// Starts a source whose guest has filled its memory.
    pub(crate) async fn source(lab: &Lab, options: Options<'_>) -> Self {
        let vm = Self::start(lab, "source", options).await;
        wait_for("the guest fills its memory", async || vm.read(DONE.0, 4) == DONE.1).await;
        vm
    }

    /// Starts a destination that waits.
    pub(crate) async fn destination(lab: &Lab) -> Self {
        Self::start(lab, "destination", Options::incoming()).await
    }

    pub(crate) async fn start(lab: &Lab, name: &str, options: Options<'_>) -> Self {
        let socket = lab.folder().join(format!("{name}.qmp"));
        let _ = std::fs::remove_file(&socket);
        let mut child = command(lab, &socket, &options).spawn().unwrap();
        wait_for("QEMU starts", async || {
            let ended = child.try_wait().unwrap();
            // With -daemonize the first process ends when all is well.
            assert!(ended.is_none_or(|status| status.success()), "QEMU ended: {ended:?}");
            socket.exists() && std::os::unix::net::UnixStream::connect(&socket).is_ok()
        })
        .await;
        let qmp = Qmp::connect(&socket).await.unwrap();
        let pid = qmp.peer_pid().unwrap();
        let ram = GuestRam::writable(&qmp, pid).await.unwrap();
        let block = ram.blocks().iter().find(|block| block.name == BLOCK).unwrap();
        let memory = block.file.try_clone().unwrap();
        let start = u64::from(options.busy.first_page) * 4096;
        let pages = if lab.qemu.release().version() < (9, 0) { options.busy.pages } else { 0 };
        let excused = start..start + u64::from(pages) * 4096;
        Self { child, qmp, pid, memory, excused }
    }

    pub(crate) async fn execute(&self, command: &str, arguments: Value) -> Value {
        self.qmp.execute(command, arguments).await.unwrap()
    }

    pub(crate) async fn set_parameters(&self, parameters: Value) {
        self.execute("migrate-set-parameters", parameters).await;
    }

    pub(crate) async fn set_capability(&self, name: &str, state: bool) {
        let list = json!({"capabilities": [{"capability": name, "state": state}]});
        self.execute("migrate-set-capabilities", list).await;
    }

    pub(crate) async fn runs(&self) -> bool {
        self.execute("query-status", json!({})).await["running"] == true
    }

    pub(crate) fn read(&self, address: u64, bytes: usize) -> Vec<u8> {
        let mut read = vec![0; bytes];
        self.memory.read_exact_at(&mut read, address).unwrap();
        read
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.kill();
    }
}

fn command(lab: &Lab, socket: &Path, options: &Options<'_>) -> Command {
    let qemu = options.qemu.unwrap_or(&lab.qemu).command();
    // Dies with the thread of its test, however that ends; `setpriv` becomes QEMU.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(qemu.get_program()).args(qemu.get_args());
    for (name, value) in qemu.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let memory = format!("memory-backend-memfd,id={BLOCK},size={MEMORY},share=on");
    // An IDE disk cannot be read-only.
    let device = if options.read_only {
        "virtio-blk-pci,drive=boot,bootindex=0"
    } else {
        "ide-hd,drive=boot,bootindex=0"
    };
    command
        .args(["-machine", &format!("q35,memory-backend={BLOCK}"), "-accel", "tcg"])
        .args(["-m", &format!("{}M", MEMORY >> 20), "-object", &memory])
        .args(["-display", "none", "-nodefaults", "-qmp"])
        .arg(format!("unix:{},server=on,wait=off", socket.display()))
        .args(["-drive", &drive(lab, options), "-device", device])
        .args(options.arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if options.incoming {
        command.args(["-incoming", "defer", "-S"]);
    }
    match options.library {
        Library::Plugin => {
            command.args(["-plugin", &format!("file={}", lab.library.display())]);
        }
        Library::Preload => {
            // `setpriv` is given it too, where it does nothing.
            command.env("LD_PRELOAD", &lab.library);
        }
        Library::None => {}
    }
    command
}

fn drive(lab: &Lab, options: &Options<'_>) -> String {
    let disk: PathBuf = guest::disk(lab.folder(), options.busy);
    let read_only = if options.read_only { "on" } else { "off" };
    format!(
        "if=none,id=boot,format=raw,snapshot=off,readonly={read_only},file.locking=off,file={}",
        disk.display()
    )
}
