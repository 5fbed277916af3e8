//! The page list: which pages can be left out of a migration, in which frames they are, and where the
//! destination finds the same bytes. And for every other block, why not. Where pages come from is a
//! [`PageSource`]: the buffer pool of a server is the first.
//!
//! Two forms are made from the same classification ([`Classifier`](crate::classify::Classifier)):
//! - [`build`]: runs of eligible pages for the host, merged and in disk order, as fast as memory can
//!   be read ([`page_wire`] is the format);
//! - [`rows`]: one row a block for people and programs, streamed.
//!
//! The list is a hint (invariant I1): every page on it is verified, or re-dirtied and sent. So a doubt costs
//! the saving of one page, never correctness; whatever is in doubt is not listed.

mod build;
mod devices;
mod frame_table;
mod judged;
mod left_out;
mod list_cache;
mod located;
mod lsn;
mod output;
mod page_locator;
mod pool;
mod rows;
mod runs;
mod source;
mod summary;
mod threads;
mod union;
mod whole;

pub use build::{Built, ListSteps, build, build_from, raw_reads, rebuild};
pub use judged::Judged;
pub use left_out::LeftOut;
pub use list_cache::ListCache;
pub use output::{ListFormat, RowWriter};
pub use pool::PoolSource;
pub use rows::{Filter, Row, rows};
pub use source::{Candidate, Harvest, PageKey, PageSource, SlotRange};
pub use summary::{Group, Summary};
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
