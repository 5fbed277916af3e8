//! Why a VM's RAM or disks cannot be seen.

use std::io;
use std::time::Duration;

use page_number::Gpa;
use thiserror::Error;

use crate::qmp::QmpError;

/// The VM cannot be seen from the host as it has to be.
#[derive(Debug, Error)]
pub enum GuestError {
    /// QEMU did not answer in time.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// QEMU answers, and makes no end.
    #[error("QEMU did not report its {what} within {} s", limit.as_secs_f64())]
    Slow {
        /// What the query was about.
        what: &'static str,
        /// How long all of its answers may take.
        limit: Duration,
    },
    /// The process has more open than can be looked at.
    #[error("process {pid} has more open than can be looked at in a minute")]
    Many {
        /// Its id.
        pid: u32,
    },
    /// The thread that looks at them has ended badly.
    #[error("the look at QEMU's open files failed")]
    Fell(#[source] tokio::task::JoinError),
    /// QEMU's text has no RAM block or no RAM in guest-physical memory.
    #[error("QEMU's `{command}` shows no {what}")]
    Nothing {
        /// The command.
        command: &'static str,
        /// What is missing.
        what: &'static str,
    },
    /// It claims more RAM than this host can hold.
    #[error(
        "QEMU reports {} MiB of RAM for this VM, and the host has {} MiB of memory and swap",
        claimed >> 20,
        held >> 20
    )]
    TooLarge {
        /// RAM of the VM in bytes, as QEMU reports.
        claimed: u64,
        /// Memory and swap of the host in bytes.
        held: u64,
    },
    /// No block of RAM lies in a file that other processes can map.
    #[error("no RAM of this VM is shared memory")]
    NotShared,
    /// A file of QEMU's process could not be read.
    #[error("failed to read `{path}`: {error}")]
    Proc {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The file behind a block could not be opened or measured.
    #[error("failed to {doing} the memory file of RAM block `{block}`: {error}")]
    File {
        /// `open` or `measure`.
        doing: &'static str,
        /// The block.
        block: String,
        /// Why.
        error: io::Error,
    },
    /// The file is not where QEMU's mappings have it.
    #[error("RAM block `{block}` does not lie in the file that QEMU maps for it")]
    Elsewhere {
        /// The block.
        block: String,
    },
    /// An address that is not RAM of the VM.
    #[error("{bytes} bytes at guest-physical {gpa} are not RAM of this VM")]
    NotRam {
        /// First address.
        gpa: Gpa,
        /// Length in bytes.
        bytes: u64,
    },
}

impl GuestError {
    /// What an operator can do, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Qmp(error) => error.hint(),
            Self::Slow { .. } => Some("see what keeps QEMU's main loop busy, and try again"),
            Self::Many { .. } => Some("see why QEMU has so many descriptors (`ls /proc/PID/fd`)"),
            Self::TooLarge { .. } => Some(
                "only a stock migration serves such a VM: Poolferry wants memory and swap for all of its RAM, files \
                 that lie on disks included",
            ),
            Self::NotShared => Some(
                "start QEMU with `-object memory-backend-memfd,id=mem0,size=...,share=on \
                 -machine memory-backend=mem0`",
            ),
            Self::Proc { .. } | Self::File { .. } => {
                Some("run poolferry-host as root or as the user that QEMU runs as")
            }
            _ => None,
        }
    }
}
