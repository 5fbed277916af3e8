//! What a laboratory is to be like.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use test_qemus::QemuRelease;
use test_servers::Release;

use crate::accelerator::Accelerator;
use crate::rate::Rate;
use crate::size::Size;
use crate::storage::Kind;
use crate::workload::Workload;

/// Options of a laboratory.
#[derive(Debug, Clone, clap::Args)]
pub struct Setup {
    /// RAM of the VM
    #[arg(long, value_name = "SIZE", default_value = "2G")]
    pub memory: Size,
    /// Buffer pool of the server in it
    #[arg(long, value_name = "SIZE", default_value = "1229M")]
    pub pool: Size,
    /// How much of the pool the tables fill
    #[arg(long, value_name = "SHARE", default_value_t = 0.9)]
    pub fill: f64,
    /// The server: mysql56, mysql97, mariadb, mariadb-security
    #[arg(long, value_name = "NAME", default_value = Release::Mysql56.name())]
    pub server: Release,
    /// Debian suite of the guest, and with it its kernel [default: this machine's own suite]
    #[arg(long, value_name = "SUITE")]
    pub suite: Option<String>,
    /// QEMU of both hosts: 7.2, 8.2, 10.0, 11.1
    #[arg(long, value_name = "VERSION", default_value = "10.0")]
    pub qemu: QemuRelease,
    /// Virtual CPUs
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    pub vcpus: u32,
    /// What the database is busy with
    #[arg(long, value_enum, default_value = "idle")]
    pub workload: Workload,
    /// Connections of the load
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    pub threads: u32,
    /// Speed of the migration link: `1gbit`, `200mbit`, `none`
    #[arg(long, value_name = "RATE", default_value = "1gbit")]
    pub network_rate: Rate,
    /// Speed of each host's link to the storage server
    #[arg(long, value_name = "RATE", default_value = "1gbit")]
    pub storage_rate: Rate,
    /// How the hosts reach the disk
    #[arg(long, value_enum, default_value = "nbd")]
    pub storage: Kind,
    /// How guest code runs
    #[arg(long, value_enum, default_value = "tcg")]
    pub accel: Accelerator,
    /// Give the VM a balloon by which the guest reports its free pages; modes that need it set it
    #[arg(long, hide = true)]
    pub balloon: bool,
}

impl Setup {
    /// A VM so small that a test can afford it: 512 MiB, a pool of 200 MiB, links that are not shaped.
    #[must_use]
    pub fn small(workload: Workload) -> Self {
        Self {
            memory: Size::mib(512),
            pool: Size::mib(200),
            fill: 0.9,
            server: Release::Mysql56,
            suite: None,
            qemu: QemuRelease::Q100,
            vcpus: 1,
            workload,
            threads: 1,
            network_rate: Rate::UNLIMITED,
            storage_rate: Rate::UNLIMITED,
            storage: Kind::Nbd,
            accel: Accelerator::Tcg,
            balloon: false,
        }
    }
}

/// Programs that a laboratory starts and did not make itself.
#[derive(Debug, Clone)]
pub struct Programs {
    /// QEMU: what is started, and what stands before QEMU's own options.
    pub qemu: Vec<String>,
    /// Variables of its environment.
    pub qemu_env: Vec<(String, String)>,
    /// The guest's part of the laboratory.
    pub lab_guest: PathBuf,
    /// The agent for the guest.
    pub poolferry: Option<PathBuf>,
    /// The hosts' program.
    pub poolferry_host: Option<PathBuf>,
    /// The library for QEMU.
    pub library: Option<PathBuf>,
}

impl Programs {
    /// Finds them where cargo puts them, beside the program that runs; each can be named by a variable of the environment.
    /// QEMU is that which the tests have most to do with: 10.0.
    ///
    /// # Errors
    /// `lab-guest` or QEMU is not there.
    pub fn find() -> Result<Self> {
        Self::with_qemu(QemuRelease::Q100)
    }

    /// Likewise, with a QEMU.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn with_qemu(qemu: QemuRelease) -> Result<Self> {
        let own = std::env::current_exe()?;
        let beside = |name: &str| {
            // Test programs lie one folder below the others.
            own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|p| p.is_file())
        };
        let named = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
        let qemu = qemu.fetch()?.command();
        let word = |word: &std::ffi::OsStr| word.to_string_lossy().into_owned();
        Ok(Self {
            qemu: std::iter::once(qemu.get_program()).chain(qemu.get_args()).map(word).collect(),
            qemu_env: qemu
                .get_envs()
                .filter_map(|(name, value)| Some((word(name), word(value?))))
                .collect(),
            lab_guest: named("POOLFERRY_LAB_GUEST")
                .or_else(|| beside("lab-guest"))
                .context("`lab-guest` is not built; run `cargo build -p test_lab`")?,
            poolferry: named("POOLFERRY_BIN").or_else(|| beside("poolferry")),
            poolferry_host: named("POOLFERRY_HOST_BIN").or_else(|| beside("poolferry-host")),
            library: named("POOLFERRY_QEMU_LIBRARY"),
        })
    }
}
