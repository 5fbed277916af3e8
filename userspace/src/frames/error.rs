//! Why the page-table walk does not serve.

use std::io;

use thiserror::Error;

use super::btf::BtfError;
use super::pagemap::PagemapError;
use crate::probes::ProbesError;

/// The walk failed.
#[derive(Debug, Error)]
pub enum WalkError {
    /// The programs could not be loaded.
    #[error(transparent)]
    Load(#[from] ProbesError),
    /// The kernel's layout is not known or not proven.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A program could not be run.
    #[error("failed to run the eBPF program `{program}`")]
    Run {
        /// Its name.
        program: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The process is gone or has executed another program.
    #[error("process {pid} is gone or has another address space now")]
    Gone {
        /// The process.
        pid: u32,
    },
    /// Kernel memory could not be read: the layout is wrong.
    #[error("the page tables of process {pid} could not be read")]
    Fault {
        /// The process.
        pid: u32,
    },
}

impl From<PagemapError> for WalkError {
    fn from(source: PagemapError) -> Self {
        Self::Kernel(KernelError::Pagemap(source))
    }
}

/// The walk cannot be trusted on this kernel.
#[derive(Debug, Error)]
pub enum KernelError {
    /// No type information.
    #[error("failed to read /sys/kernel/btf/vmlinux")]
    NoBtf(#[source] io::Error),
    /// The type information does not answer.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// No candidate for the direct map gives right frames.
    #[error("the kernel's direct map was not found ({tried} candidates tried)")]
    NoDirectMap {
        /// How many.
        tried: u32,
    },
    /// The walk disagrees with pagemap.
    #[error("the walk disagrees with pagemap on {wrong} of {of} pages")]
    Disproved {
        /// Pages that differ.
        wrong: usize,
        /// Pages compared.
        of: usize,
    },
    /// Another architecture.
    #[error("the page-table walk knows x86-64 only")]
    Architecture,
    /// pagemap, with which the walk is proven, does not work.
    #[error(transparent)]
    Pagemap(#[from] PagemapError),
    /// Pages to verify the walk with could not be had.
    #[error("failed to map pages to verify the walk with")]
    Map(#[source] io::Error),
}
