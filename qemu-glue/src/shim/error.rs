//! Why the library cannot be used.

use std::io;

use thiserror::Error;

use super::LibraryRefusal;

/// Why the library cannot be used.
#[derive(Debug, Error)]
pub enum ShimError {
    /// The descriptors of the process cannot be listed.
    #[error("failed to look at the descriptors of process {pid}")]
    Descriptors {
        /// QEMU's process.
        pid: u32,
        /// Why.
        source: io::Error,
    },
    /// No descriptor of the process is the library's.
    #[error("process {pid} has not loaded libpoolferry_qemu.so")]
    NotLoaded {
        /// QEMU's process.
        pid: u32,
    },
    /// The memory that the library shares cannot be mapped, written or reserved.
    #[error("failed to {what} the memory that the library in process {pid} shares")]
    Memory {
        /// What was tried.
        what: &'static str,
        /// QEMU's process.
        pid: u32,
        /// Why.
        source: io::Error,
    },
    /// What looks like the library's memory has another form.
    #[error("what process {pid} shares is not what the library shares: {what}")]
    Foreign {
        /// QEMU's process.
        pid: u32,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The library speaks another version of the shared memory.
    #[error("the library in process {pid} has interface {theirs}, this program {ours}")]
    OtherVersion {
        /// QEMU's process.
        pid: u32,
        /// The library's.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// Another process has reserved the library.
    #[error("another migration of process {pid} is being driven")]
    Reserved {
        /// QEMU's process.
        pid: u32,
    },
    /// The library can do nothing in this QEMU.
    #[error("the library cannot work in process {pid}: {refusal}")]
    Unusable {
        /// QEMU's process.
        pid: u32,
        /// Why.
        refusal: LibraryRefusal,
    },
    /// A set is armed, or hinted in a migration that has not ended.
    #[error("a set of pages is in use in process {pid}")]
    InUse {
        /// QEMU's process.
        pid: u32,
    },
    /// The set has nothing to skip.
    #[error("there is no page to skip")]
    Empty,
    /// The set does not fit.
    #[error("{count} {what} are more than the {limit} that the library takes")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many.
        count: u64,
        /// How many there may be.
        limit: u64,
    },
    /// A block's name is longer than QEMU's names are, or has a zero.
    #[error("`{0}` is no name of a RAM block")]
    BlockName(String),
    /// The set has pages of those that keep QEMU from the switchover.
    #[error("the set has a page below 1 MiB of its first RAM block, `{0}`")]
    ThrottlePages(String),
}

impl ShimError {
    /// What the operator can do, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotLoaded { .. } => {
                "start the VM with `-plugin file=libpoolferry_qemu.so`, or with LD_PRELOAD where its \
                 QEMU has no plugins"
            }
            Self::Descriptors { .. } | Self::Memory { .. } => {
                "run as root, or as the user of the QEMU process"
            }
            Self::OtherVersion { .. } => {
                "use the library and the program of one release; the library changes with the VM's \
                 next start"
            }
            Self::Reserved { .. } | Self::InUse { .. } => {
                "wait for the other migration to end, or cancel it"
            }
            Self::Unusable { refusal, .. } => return refusal.hint(),
            Self::Foreign { .. }
            | Self::Empty
            | Self::TooMany { .. }
            | Self::BlockName(_)
            | Self::ThrottlePages(_) => return None,
        })
    }
}
