//! Why a destination does not restore.

use std::io;

use page_number::MAX_NUMBERED_PAGES;
use thiserror::Error;

use crate::channel::{MAX_DEVICE_BYTES, MAX_DEVICES};
use crate::guest::GuestError;
use crate::qmp::QmpError;
use crate::set::SetError;

/// Why this host does not restore. The migration can still be a stock one.
#[derive(Debug, Error)]
pub enum RestoreRefusal {
    /// QEMU's monitor does not answer.
    #[error("QEMU's monitor cannot be used")]
    Qmp(#[from] QmpError),
    /// QEMU's RAM cannot be reached.
    #[error("QEMU's RAM cannot be reached")]
    Guest(#[from] GuestError),
    /// QEMU does not wait for a migration.
    #[error("QEMU does not wait for a migration: its status is `{status}`")]
    NotIncoming {
        /// Of `query-status`.
        status: String,
    },
    /// An attempt before this one made QEMU listen, which works once: what is in its memory
    /// by now is not known.
    #[error("QEMU listens already, for an attempt before this one")]
    Listens,
    /// QEMU takes a migration, or has taken one, or could not listen.
    #[error("QEMU's migration has begun already: it is `{status}`")]
    MigrationBegun {
        /// Of `query-migrate`.
        status: String,
    },
    /// The offer names more pages than this VM has.
    #[error("the source offers more pages than the {pages} of this VM's shared RAM")]
    TooManyPages {
        /// Pages of the RAM blocks here.
        pages: u64,
    },
    /// The offer is no set.
    #[error("the source offers no proper set of pages (at most {MAX_NUMBERED_PAGES})")]
    Set(#[from] SetError),
    /// A RAM block is not here, or not shared.
    #[error("QEMU has no shared RAM block `{name}`")]
    NoBlock {
        /// Its name at the source.
        name: String,
    },
    /// A RAM block has another length.
    #[error("RAM block `{name}` has {here} bytes here and {there} at the source")]
    BlockLength {
        /// Its name.
        name: String,
        /// Bytes here.
        here: u64,
        /// Bytes at the source.
        there: u64,
    },
    /// A RAM block has huge pages: one delivered page would make 512 present.
    #[error("RAM block `{name}` has pages of {page_bytes} bytes")]
    PageBytes {
        /// Its name.
        name: String,
        /// Bytes of a page.
        page_bytes: u64,
    },
    /// A RAM block's file is on no tmpfs, so userfaultfd does not serve it.
    #[error("the file of RAM block `{name}` is neither a memfd nor on tmpfs")]
    FileSystem {
        /// Its name.
        name: String,
    },
    /// Transparent huge pages: one delivered page could make its neighbours present.
    #[error("RAM block `{name}` may get huge pages of {bytes} bytes ({setting})")]
    HugePages {
        /// Its name.
        name: String,
        /// Bytes of such a page.
        bytes: u64,
        /// What allows it.
        setting: String,
    },
    /// A device that keeps RAM pinned: a punched page would be another one for it.
    #[error("QEMU has a device that pins RAM: {device}")]
    Pinned {
        /// Its driver.
        device: String,
    },
    /// A RAM block belongs to virtio-mem, which fills it after the start.
    #[error("RAM block `{name}` belongs to a virtio-mem device")]
    VirtioMem {
        /// Its name.
        name: String,
    },
    /// A capability with which restoring is wrong.
    #[error("migration capability `{name}` is {wanted}")]
    Capability {
        /// Its name.
        name: String,
        /// `asked for by the source` or `set at the destination`.
        wanted: &'static str,
    },
    /// Less memory than the set needs may be used by this process.
    #[error("this process may use {headroom} more bytes of memory, and the set has {needed}")]
    Headroom {
        /// Bytes left in its control group.
        headroom: u64,
        /// Bytes of the set.
        needed: u64,
    },
    /// More devices than a VM's disks, or names that are no disk's.
    #[error(
        "the source offers more than {MAX_DEVICES} disks, or names of more than {MAX_DEVICE_BYTES} bytes"
    )]
    Devices,
    /// None of the devices can be read here.
    #[error("none of the VM's disks can be read here: {0}")]
    NoDevice(String),
    /// The pages of the set could not be made holes.
    #[error("failed to {doing} RAM block `{name}`")]
    Holes {
        /// `look for data in`, `punch holes into`.
        doing: &'static str,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something fills RAM while QEMU waits.
    #[error("page {offset:#x} of RAM block `{name}` is present again after it was punched")]
    Present {
        /// The block's name.
        name: String,
        /// Offset of the page in it, in bytes.
        offset: u64,
    },
    /// Pages cannot be installed.
    #[error("failed to {doing}")]
    Install {
        /// The step.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// QEMU does not listen.
    #[error("QEMU does not listen for the migration on `{uri}`")]
    Listen {
        /// What it should have set.
        uri: String,
        /// Why.
        #[source]
        source: QmpError,
    },
}

impl RestoreRefusal {
    /// What the operator can do about it; empty where there is nothing.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Qmp(error) => error.hint().unwrap_or_default(),
            Self::Guest(error) => error.hint().unwrap_or_default(),
            Self::NotIncoming { .. } => "start the destination's QEMU with `-incoming defer`",
            Self::Listens => {
                "start the destination's QEMU anew: it takes one `migrate-incoming`, and pages can be \
                 skipped only before that"
            }
            Self::MigrationBegun { .. } => {
                "look at the source's QEMU whether that migration goes on, and wait for its end; else \
                 start the destination's QEMU anew"
            }
            Self::NoBlock { .. } | Self::BlockLength { .. } => {
                "start the destination's QEMU with the source's memory options, `share=on` among them"
            }
            Self::PageBytes { .. } | Self::FileSystem { .. } => {
                "use `-object memory-backend-memfd,share=on` without hugetlb"
            }
            Self::HugePages { .. } => {
                "write `never` to /sys/kernel/mm/transparent_hugepage/shmem_enabled, or start the \
                 destination's QEMU with transparent huge pages disabled (PR_SET_THP_DISABLE)"
            }
            Self::Pinned { .. } | Self::VirtioMem { .. } => {
                "migrate this VM without the device, or without `poolferry-host`"
            }
            Self::Capability { .. } => "set the capability off on both sides",
            Self::Headroom { .. } => "run `poolferry-host receive` in QEMU's control group",
            Self::NoDevice(_) => "name the disk with `--disk NAME=URI`",
            Self::Install { .. } => "run `poolferry-host receive` as QEMU's user or as root",
            Self::Listen { .. } => {
                "give an address of this host that is free (`--migration-address`), and start the \
                 destination's QEMU anew: newer releases try to listen only once"
            }
            Self::Present { .. } => "let nothing else read this VM's memory while it waits",
            Self::Devices | Self::TooManyPages { .. } | Self::Set(_) | Self::Holes { .. } => "",
        }
    }
}
