//! Foreign files are read by a process of our own that can do nothing else.
//!
//! A user who runs a program called mysqld chooses its contents and those of the debug files below its
//! root. To find them we need rights; to read them we need none. So there are two processes:
//!
//! ```text
//! parent (our rights)                              child (no rights: `confine`)
//! opens files below the two roots (`LocalFiles`)   parses: ELF, DWARF, machine code
//! the open program  ─────────── descriptor ──────>  some kilobytes of it: is its profile stored?
//!                 <──── the stored profile, or none ──────
//! copies each into sealed memory  ──── memfd ───>  maps it
//! checks, caches  <──── profile, or why there is none ────
//! ```
//!
//! A build whose profile is stored is not copied, and not read to its end: a small machine may have no room for it. What
//! may change meanwhile is the program of a stranger, who could have written it so in the first place.
//!
//! The child is our own program again ([`serve`]), with one socket and nothing else. The parent does
//! not believe it: requests are counted, messages have a length, only ELF files are handed out, and
//! the answer must be about the requested program. Memory, processor time and time are
//! limited, and the parent stops waiting as soon as one of its [`Ends`](crate::Ends) is there.

mod child;
mod confine;
mod line;
mod message;
mod parent;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::elf::STORED_PROFILE;

pub use child::serve;
pub(crate) use parent::ReadJob;

/// The argument that makes a program of ours call [`serve`].
pub const COMMAND: &str = "read-foreign-files";

/// How foreign files are read by another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolation {
    /// A program that calls [`serve`] when its argument is [`COMMAND`].
    pub program: PathBuf,
    /// What that process may use.
    pub limits: ChildLimits,
}

/// What the process that reads foreign files may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildLimits {
    /// Memory in bytes, beside copies of files and decompressed sections ([`Budget`](crate::Budget)).
    pub work_bytes: u64,
    /// Processor time.
    pub cpu: Duration,
    /// Time, without that for which we fetch and read files for it.
    pub wall: Duration,
}

/// A server of 1 GB of debug information takes some seconds and some hundred MB.
impl Default for ChildLimits {
    fn default() -> Self {
        Self { work_bytes: 1 << 30, cpu: Duration::from_secs(120), wall: Duration::from_secs(300) }
    }
}

impl Isolation {
    /// By the program that runs here.
    #[must_use]
    pub fn own() -> Self {
        Self::by(PathBuf::from("/proc/self/exe"))
    }

    /// By another program of ours.
    #[must_use]
    pub fn by(program: PathBuf) -> Self {
        Self { program, limits: ChildLimits::default() }
    }
}

/// Why the process that reads foreign files gave no answer.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum IsolatedError {
    /// It cannot be started, or not be spoken to.
    #[error("cannot start the process that reads the program's files")]
    Start(#[source] Cause),
    /// It took all of the memory that it may have.
    #[error("to read the program's files takes more than {limit} bytes of memory")]
    Memory {
        /// What it may have, in bytes.
        limit: u64,
    },
    /// It took all of the processor time that it may have.
    #[error("to read the program's files takes more than {limit:?} of processor time")]
    Cpu {
        /// What it may have.
        limit: Duration,
    },
    /// It did not answer in time.
    #[error("the program's files were not read within {limit:?}")]
    Slow {
        /// The time that it has.
        limit: Duration,
    },
    /// It ended without an answer.
    #[error("the process that reads the program's files ended early: {how}")]
    Died {
        /// Its exit status, and its last output.
        how: String,
    },
    /// It has sent an invalid answer.
    #[error("the process that reads the program's files has sent an invalid answer: {what}")]
    Protocol {
        /// What is wrong.
        what: String,
    },
    /// It is not needed any more.
    #[error("stopped")]
    Stopped,
}

impl IsolatedError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Start(_) => Some("check the limits on processes and memory of this user"),
            Self::Stopped => None,
            _ => Some(STORED_PROFILE),
        }
    }

    fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol { what: what.into() }
    }
}
