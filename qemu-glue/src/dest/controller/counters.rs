//! Figures of the restore, and what happened beside the path.

use foreign::Text;

use crate::channel::Progress;

/// Warnings kept: enough to understand a failure, not one a page.
const MAX_WARNINGS: usize = 20;

/// Figures of a restore, or of a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::dest) struct Counts {
    /// Bytes read from storage.
    pub(in crate::dest) storage_bytes: u64,
    /// Pages installed by us.
    pub(in crate::dest) installed: u64,
    /// Pages where QEMU had been before us.
    pub(in crate::dest) delivered: u64,
    /// Pages that have to travel by network.
    pub(in crate::dest) not_placed: u64,
    warnings: Vec<Text>,
}

impl Counts {
    /// Notes what happened, once; the log has all of it.
    pub(in crate::dest) fn warn(&mut self, text: impl Into<Text>) {
        let text = text.into();
        log::warn!("{text}");
        self.keep(text);
    }

    fn keep(&mut self, text: Text) {
        if self.warnings.len() < MAX_WARNINGS && !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }

    /// Adds those of a part.
    pub(super) fn add(&mut self, part: Self) {
        self.storage_bytes += part.storage_bytes;
        self.installed += part.installed;
        self.delivered += part.delivered;
        self.not_placed += part.not_placed;
        part.warnings.into_iter().for_each(|text| self.keep(text));
    }

    pub(super) fn warnings(&self) -> Vec<Text> {
        self.warnings.clone()
    }

    /// The figures, with `queued` pages waiting.
    pub(super) fn progress(&self, queued: u64) -> Progress {
        Progress {
            storage_bytes: self.storage_bytes,
            installed: self.installed,
            delivered: self.delivered,
            not_placed: self.not_placed,
            queued: queued * size_of::<super::queue::Hash>() as u64,
        }
    }
}
