//! The LSN test, for lists that are made without probes.
//!
//! A page that was changed and looks clean must have been written; a write stamps the page's newest LSN
//! into its frame (`FIL_PAGE_LSN`, offset 16; buf0flu.cc, `buf_flush_init_for_writing`). A page that
//! was taken off the flush list without a write still has an older one there.

use crate::memory::{Memory, ServerAddr};

/// Offset of `FIL_PAGE_LSN` in a page.
const FIL_PAGE_LSN: u64 = 16;
/// Frames read by one system call.
const BATCH: usize = 1024;

/// Calls `detached` with the index of every page whose frame does not carry its newest LSN.
/// `pages` are (frame, newest LSN); one that cannot be read counts as detached.
pub(super) fn find_detached(
    memory: Memory,
    pages: &[(ServerAddr, u64)],
    mut detached: impl FnMut(usize),
) {
    let mut stamps = [[0_u8; 8]; BATCH];
    for (number, batch) in pages.chunks(BATCH).enumerate() {
        let mut ranges: Vec<(ServerAddr, &mut [u8])> = batch
            .iter()
            .zip(&mut stamps)
            .map(|((frame, _), stamp)| (frame.plus(FIL_PAGE_LSN), stamp.as_mut_slice()))
            .collect();
        let got = memory.read_vectored(&mut ranges).unwrap_or(0) / 8;
        for (index, ((_, newest), stamp)) in batch.iter().zip(&stamps).enumerate() {
            if index >= got || u64::from_be_bytes(*stamp) != *newest {
                detached(number * BATCH + index);
            }
        }
    }
}
