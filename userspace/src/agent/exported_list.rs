//! The list of all servers, put together and held still until the host has read it.

use std::time::{Duration, Instant};

use page_wire::protocol::{MAX_LIST_BYTES, PageList, Steps};
use thiserror::Error;

use super::pinned_buffer::PinnedBuffer;
use crate::page_list::{BuildError, Union};

/// How long the host has to read it.
const HELD_FOR: Duration = Duration::from_secs(120);

/// There is no list.
#[derive(Debug, Error)]
pub(super) enum ExportError {
    #[error(transparent)]
    List(#[from] BuildError),
    #[error("a list of {bytes} bytes is longer than {MAX_LIST_BYTES}")]
    TooLong { bytes: u64 },
    #[error("no memory for a list of {bytes} bytes")]
    Memory {
        bytes: u64,
        #[source]
        source: std::io::Error,
    },
}

impl ExportError {
    /// What the operator can do about it.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::List(_) => None,
            Self::TooLong { .. } => {
                Some("the VM can be migrated without a list, as QEMU does it".to_owned())
            }
            Self::Memory { .. } => Some("leave some of the guest's memory free".to_owned()),
        }
    }
}

/// The list in its pages.
pub(super) struct ExportedList {
    pub(super) number: u64,
    memory: PinnedBuffer,
    until: Instant,
}

impl ExportedList {
    /// Makes the list of this moment, and the reply about it.
    ///
    /// `sync_s` is the longest time that writing out a server's files took, `start` when the list was requested.
    pub(super) fn make(
        number: u64,
        union: Union,
        sync_s: f64,
        start: Instant,
    ) -> Result<(Self, PageList), ExportError> {
        let mut lap = Instant::now();
        let mut lap = move || {
            let now = Instant::now();
            (now - std::mem::replace(&mut lap, now)).as_secs_f64()
        };
        let bytes = union.encoded_bytes();
        let len = usize::try_from(bytes).ok().filter(|_| bytes <= MAX_LIST_BYTES);
        let len = len.ok_or(ExportError::TooLong { bytes })?;
        let mut memory =
            PinnedBuffer::new(len).map_err(|source| ExportError::Memory { bytes, source })?;
        let pin_s = lap();
        union.write_to(memory.bytes_mut())?;
        let (left_out, pages, steps) =
            (union.left_out().clone(), union.facts().pages, union.steps());
        drop(union);
        let encode_s = lap();
        let hash = blake3::hash(memory.bytes());
        let hash_s = lap();
        let runs = memory.frames().unwrap_or_else(|error| {
            log::warn!("the list must be copied: {error}: {}", error.hint());
            Vec::new()
        });
        let frames_s = lap();
        let reply = PageList {
            list: number,
            length: bytes,
            blake3: hash.to_hex().as_str().into(),
            runs,
            pinned: memory.how(),
            held_s: HELD_FOR.as_secs(),
            pages,
            // Who made it knows.
            servers: Vec::new(),
            left_out: left_out.into_iter().map(|(reason, count)| (reason.into(), count)).collect(),
            steps: Steps {
                sync_s,
                refresh_s: steps.refresh_s,
                scan_s: steps.scan_s,
                translate_s: steps.translate_s,
                locate_s: steps.locate_s,
                merge_s: steps.merge_s,
                pin_s,
                encode_s,
                hash_s,
                frames_s,
                total_s: start.elapsed().as_secs_f64(),
            },
        };
        Ok((Self { number, memory, until: Instant::now() + HELD_FOR }, reply))
    }

    /// Bytes of it; `None` where it has none.
    pub(super) fn piece(&self, offset: u64, len: u32) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        self.memory.bytes().get(start..end)
    }

    /// Whether the host has had its time.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}
