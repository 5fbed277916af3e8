//! Why there is no time line.

use std::io;
use std::path::PathBuf;

use probe_loader::{KeeperError, RemoteCause};
use symbols::text::SiteError;
use thiserror::Error;

/// The probes could not be set. A migration does not need them.
#[derive(Debug, Error)]
pub enum TimelineError {
    /// The process cannot be looked at.
    #[error("failed to read the mappings of process {pid}")]
    Process {
        /// Which.
        pid: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing that the process runs exports a function of a migration.
    #[error("process {pid} runs no program that exports QEMU's migration functions")]
    NoQemu {
        /// Which.
        pid: u32,
    },
    /// A symbol does not name the start of a function: a probe there could change the middle of an instruction.
    #[error("`{}` is not probed", foreign::path(.path))]
    Unproven {
        /// The file.
        path: PathBuf,
        /// Which function, and why.
        #[source]
        source: Box<SiteError>,
    },
    /// There are no probes, and no keeper.
    #[error(transparent)]
    Kept(#[from] KeeperError),
    /// A probe could not be set.
    #[error("failed to probe {function} at offset {offset:#x} of `{}`", foreign::path(.path))]
    Attach {
        /// The function.
        function: &'static str,
        /// File offset of its code.
        offset: u64,
        /// In which file.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: RemoteCause,
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
    /// The thread that reads the records could not be started.
    #[error("failed to start the reader of the records")]
    Reader(#[source] io::Error),
}

impl TimelineError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        const RIGHTS: &str =
            "probes want root (CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE) and a kernel with uprobes";
        match self {
            Self::Kept(error) => error.hint().unwrap_or(RIGHTS),
            Self::NoQemu { .. } => {
                "a QEMU built without modules exports no such functions; the figures of QMP remain"
            }
            Self::Unproven { .. } => {
                "QEMU's program is damaged, or was made by hand: reinstall it; `--no-probes` migrates without"
            }
            _ => RIGHTS,
        }
    }
}
