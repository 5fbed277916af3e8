//! `/proc/PID/pagemap` (Documentation/admin-guide/mm/pagemap.rst): one 64-bit entry a page.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use thiserror::Error;

use super::frame::{FRAME_BYTES, Frame};
use crate::memory::ServerAddr;

/// The pagemap cannot be used.
#[derive(Debug, Error)]
pub enum PagemapError {
    /// It could not be opened or read.
    #[error("failed to read the pagemap of process {pid}")]
    Io {
        /// The process.
        pid: u32,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The kernel hides frame numbers from this process.
    #[error("the kernel hides frame numbers in the pagemap of process {pid}")]
    Hidden {
        /// The process.
        pid: u32,
    },
}

impl PagemapError {
    /// What the operator can do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        "frame numbers need CAP_SYS_ADMIN in the initial user namespace; run as root"
    }
}

/// Entry bits.
const PRESENT: u64 = 1 << 63;
const NUMBER: u64 = (1 << 55) - 1;

/// Entries read at once: 512 KiB of them, far above the 512 entries from which the rate is flat.
const BATCH: usize = 64 << 10;

/// An open pagemap.
pub struct Pagemap {
    pid: u32,
    file: File,
    buffer: Vec<u8>,
}

impl Pagemap {
    /// Opens the pagemap of process `pid`.
    ///
    /// # Errors
    /// When it may not be read.
    pub fn open(pid: u32) -> Result<Self, PagemapError> {
        let file = File::open(format!("/proc/{pid}/pagemap"))
            .map_err(|source| PagemapError::Io { pid, source })?;
        Ok(Self { pid, file, buffer: Vec::new() })
    }

    /// Fills `out` with the frames from `start` on.
    ///
    /// # Errors
    /// When the process is gone, or present pages come without numbers.
    pub fn translate(&mut self, start: ServerAddr, out: &mut [Frame]) -> Result<(), PagemapError> {
        self.buffer.resize(BATCH.min(out.len().max(1)) * 8, 0);
        let mut page = start.0 / FRAME_BYTES;
        for piece in out.chunks_mut(BATCH) {
            let bytes = &mut self.buffer[..piece.len() * 8];
            self.file
                .read_exact_at(bytes, page * 8)
                .map_err(|source| PagemapError::Io { pid: self.pid, source })?;
            for (frame, entry) in piece.iter_mut().zip(bytes.as_chunks::<8>().0) {
                let entry = u64::from_le_bytes(*entry);
                *frame = if entry & PRESENT == 0 {
                    Frame::ABSENT
                } else if entry & NUMBER == 0 {
                    return Err(PagemapError::Hidden { pid: self.pid });
                } else {
                    Frame::from_number(entry & NUMBER)
                };
            }
            page += piece.len() as u64;
        }
        Ok(())
    }

    /// Only reads the entries of `pages` pages from `start` on: what the list is measured against.
    ///
    /// # Errors
    /// As [`Pagemap::translate`].
    pub fn read_raw(&mut self, start: ServerAddr, pages: usize) -> Result<u64, PagemapError> {
        self.buffer.resize(BATCH * 8, 0);
        let (mut page, mut left, mut sum) = (start.0 / FRAME_BYTES, pages, 0);
        while left > 0 {
            let count = left.min(BATCH);
            let bytes = &mut self.buffer[..count * 8];
            self.file
                .read_exact_at(bytes, page * 8)
                .map_err(|source| PagemapError::Io { pid: self.pid, source })?;
            sum ^= u64::from(bytes[0]);
            page += count as u64;
            left -= count;
        }
        Ok(sum)
    }
}
