//! From the server's virtual addresses to physical frames, in bulk.
//!
//! Frames move (compaction, huge-page splits, NUMA balancing), so this is done when a list is made,
//! never remembered. Two ways lead there, and tests compare them on the same pages:
//!
//! | way | how | cost per 2 MiB |
//! |---|---|---|
//! | [`Walk`] | an eBPF program copies whole page tables out of the kernel | one 4 KiB copy |
//! | [`Pagemap`] | `/proc/PID/pagemap`, 512 entries and more a read | the kernel's own walk, about 28 ns an entry |
//!
//! The walk is faster and serves the list where the kernel's layout is known and proven
//! ([`KernelLayout`](probe_abi::KernelLayout)); pagemap serves it elsewhere.

mod btf;
mod error;
mod frame;
mod kernel;
mod pagemap;
mod programs;
mod walk;

pub use btf::{Btf, BtfError};
pub use error::{KernelError, WalkError};
pub use frame::{FRAME_BYTES, Frame};
pub use pagemap::{Pagemap, PagemapError};
pub use walk::Walk;

use crate::memory::ServerAddr;

/// Why frames could not be found.
#[derive(Debug, thiserror::Error)]
pub enum FramesError {
    /// The pagemap failed.
    #[error(transparent)]
    Pagemap(#[from] PagemapError),
    /// The walk failed.
    #[error(transparent)]
    Walk(#[from] WalkError),
}

/// The way that serves the list.
pub enum Frames {
    /// eBPF page-table walk.
    Walk(Box<Walk>),
    /// `/proc/PID/pagemap`.
    Pagemap(Pagemap),
}

impl Frames {
    /// The fastest way that works for process `pid`, and why the faster one does not, if so.
    ///
    /// # Errors
    /// When not even the pagemap works.
    pub fn open(pid: u32) -> Result<(Self, Option<WalkError>), FramesError> {
        match Walk::open(pid) {
            Ok(walk) => Ok((Self::Walk(Box::new(walk)), None)),
            Err(error) => Ok((Self::Pagemap(Pagemap::open(pid)?), Some(error))),
        }
    }

    /// Name for people.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Walk(_) => "eBPF page-table walk",
            Self::Pagemap(_) => "pagemap",
        }
    }

    /// Fills `out` with the frames from `start` (a multiple of [`FRAME_BYTES`]) on.
    ///
    /// # Errors
    /// When the process is gone or the kernel refuses.
    pub fn translate(&mut self, start: ServerAddr, out: &mut [Frame]) -> Result<(), FramesError> {
        match self {
            Self::Walk(walk) => Ok(walk.translate(start, out)?),
            Self::Pagemap(pagemap) => Ok(pagemap.translate(start, out)?),
        }
    }
}
