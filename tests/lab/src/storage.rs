//! The storage that both hosts see: a raw file, served by NBD in a namespace of its own or opened by both QEMUs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::network::{Host, Network};
use crate::process::Process;
use crate::wait;

/// Serial number of the disk that holds the database.
pub const SERIAL: &str = "pf-data";
/// Name of its export.
const EXPORT: &str = "data";
/// Port of the NBD server.
const PORT: u16 = 10809;
/// Connections that the server takes at a time: the VM's and several of a restore at each host.
const CONNECTIONS: &str = "32";

/// How the hosts reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// `qemu-nbd` in the storage server's namespace, over the storage link
    Nbd,
    /// The file itself; there is no storage link then
    File,
}

/// The disk of one laboratory.
#[derive(Debug)]
pub struct Storage {
    kind: Kind,
    file: PathBuf,
    log: PathBuf,
    server: Option<Process>,
}

impl Storage {
    /// Serves `file`; `log` is for the server's messages.
    ///
    /// # Errors
    /// `qemu-nbd` is missing, or does not serve.
    pub fn new(kind: Kind, file: PathBuf, log: PathBuf, network: &Network) -> Result<Self> {
        let mut storage = Self { kind, file, log, server: None };
        if kind == Kind::Nbd {
            storage.serve(network)?;
        }
        Ok(storage)
    }

    /// Starts the server on the file that it has.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn serve(&mut self, network: &Network) -> Result<()> {
        ensure!(self.kind == Kind::Nbd, "a file has no server");
        let mut command = network.at_storage("qemu-nbd");
        command
            .args(["--persistent", "--format=raw", "--cache=none", "--aio=native"])
            .args(["--shared", CONNECTIONS, "--export-name", EXPORT])
            .arg(format!("--port={PORT}"))
            .arg(&self.file);
        let mut server = Process::start(command, "qemu-nbd", &self.log)?;
        // It has no word for "ready": ask whether it listens.
        let pid = server.pid();
        wait::until("qemu-nbd listens", Duration::from_secs(20), || {
            server.still_runs()?;
            Ok(listens(pid, PORT).then_some(()))
        })?;
        self.server = Some(server);
        Ok(())
    }

    /// Ends the server, as a crash of it would.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// The server's process, when there is one.
    pub fn server(&mut self) -> Option<&mut Process> {
        self.server.as_mut()
    }

    /// The raw file behind it.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Serves another file from now on; the hosts' connections end.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn replace(&mut self, file: PathBuf, network: &Network) -> Result<()> {
        self.stop();
        self.file = file;
        self.serve(network)
    }

    /// The block device of a QEMU at `host`, named `node`; past every cache of the host.
    #[must_use]
    pub fn blockdev(&self, host: Host, node: &str) -> Value {
        let direct = json!({ "direct": true, "no-flush": false });
        match self.kind {
            Kind::Nbd => json!({
                "driver": "nbd", "node-name": node, "export": EXPORT, "cache": direct,
                "server": { "type": "inet", "host": host.storage_server(), "port": PORT.to_string() },
            }),
            Kind::File => json!({
                "driver": "raw", "node-name": node,
                "file": { "driver": "file", "filename": self.file, "cache": direct, "aio": "threads" },
                "cache": direct,
            }),
        }
    }
}

/// Whether a TCP socket of any process in the namespace of `pid` listens on `port`
/// (state 0A of `/proc/net/tcp`, proc(5)).
#[must_use]
pub fn listens(pid: u32, port: u16) -> bool {
    ["tcp", "tcp6"].iter().any(|family| {
        std::fs::read_to_string(format!("/proc/{pid}/net/{family}")).is_ok_and(|text| {
            text.lines().any(|line| {
                let mut words = line.split_whitespace();
                let local = words.nth(1).and_then(|local| local.rsplit(':').next());
                local == Some(&format!("{port:04X}")) && words.nth(1) == Some("0A")
            })
        })
    })
}
