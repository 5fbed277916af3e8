//! The page list: which pages can be left out of a migration, in which frames they are, and where the
//! destination finds the same bytes. And for every other block, why not. Where pages come from is a
//! [`PageSource`]: the buffer pool of a server is the first.
//!
//! | folder | noun |
//! |---|---|
//! | `source/` | which pages a process has: a pool's blocks, judged |
//! | `located/` | where they lie: frames, devices, and the runs of both |
//! | `rows/` | every block for people and programs: table, JSON Lines, CSV, summary |
//!
//! Two forms are made from the same classification ([`Classifier`](crate::classify::Classifier)):
//! - [`build`]: runs of eligible pages for the host, merged and in disk order, as fast as memory can
//!   be read ([`page_wire`] is the format);
//! - [`rows`]: one row a block for people and programs, streamed.
//!
//! The list is a hint (invariant I1): every page on it is verified, or re-dirtied and sent. So a doubt costs
//! the saving of one page, never correctness; whatever is in doubt is not listed.

mod build;
mod list_cache;
mod located;
mod rows;
mod source;
mod union;

pub use build::{Built, ListSteps, build, build_from, raw_reads, rebuild};
pub use list_cache::ListCache;
pub use rows::{Filter, Group, ListFormat, Row, RowWriter, Summary, rows};
pub use source::{Candidate, Harvest, Judged, LeftOut, PageKey, PageSource, PoolSource, SlotRange};
pub use union::{ListRoom, Union};

use thiserror::Error;

use crate::frames::FramesError;
use crate::locate::LocateError;
use crate::memory::MemoryError;

/// A list could not be made.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The descriptors could not be read.
    #[error("failed to scan the pool")]
    Scan(#[from] MemoryError),
    /// Frames could not be translated.
    #[error("failed to translate addresses")]
    Frames(#[from] FramesError),
    /// The files could not be looked at.
    #[error("failed to look at the server's files")]
    Locate(#[from] LocateError),
    /// The list could not be written.
    #[error("failed to write the page list")]
    Write(#[from] std::io::Error),
    /// The list does not fit its format.
    #[error(transparent)]
    Encode(#[from] page_wire::EncodeError),
}

/// Two halves of one work side by side: runs `first` here and `second` on another thread. More threads would not pay: the work is bound by
/// memory, and the server wants its CPUs.
fn both<A, B: Send>(first: impl FnOnce() -> A, second: impl FnOnce() -> B + Send) -> (A, B) {
    std::thread::scope(|scope| {
        let second = scope.spawn(second);
        let first = first();
        match second.join() {
            Ok(second) => (first, second),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
