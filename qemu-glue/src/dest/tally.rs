//! Counters of the restore, and what happened beside the path.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use foreign::Text;

use crate::channel::Progress;

/// Remarks kept: enough to understand a failure, not one a page.
const MAX_REMARKS: usize = 20;

/// Shared by all that work on one restore.
#[derive(Debug, Default)]
pub(super) struct Tally {
    storage_bytes: AtomicU64,
    installed: AtomicU64,
    delivered: AtomicU64,
    not_placed: AtomicU64,
    remarks: Mutex<Vec<Text>>,
}

impl Tally {
    pub(super) fn read(&self, bytes: usize) {
        self.storage_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn installed(&self, pages: u32) {
        self.installed.fetch_add(pages.into(), Ordering::Relaxed);
    }

    pub(super) fn delivered(&self, pages: u32) {
        self.delivered.fetch_add(pages.into(), Ordering::Relaxed);
    }

    pub(super) fn not_placed(&self, pages: u32) {
        self.not_placed.fetch_add(pages.into(), Ordering::Relaxed);
    }

    /// Notes what happened, once; the log has all of it.
    pub(super) fn remark(&self, text: impl Into<Text>) {
        let text = text.into();
        log::warn!("{text}");
        let mut remarks = self.remarks.lock().unwrap_or_else(PoisonError::into_inner);
        if remarks.len() < MAX_REMARKS && !remarks.contains(&text) {
            remarks.push(text);
        }
    }

    pub(super) fn remarks(&self) -> Vec<Text> {
        self.remarks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The counters, with `queued` pages waiting.
    pub(super) fn progress(&self, queued: u64) -> Progress {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Progress {
            storage_bytes: get(&self.storage_bytes),
            installed: get(&self.installed),
            delivered: get(&self.delivered),
            not_placed: get(&self.not_placed),
            queued: queued * size_of::<super::queue::Hash>() as u64,
        }
    }
}
