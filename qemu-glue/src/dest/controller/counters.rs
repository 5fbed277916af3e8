//! Figures of the restore, and what happened beside the path.

use foreign::Text;

use super::trouble::InstallTrouble;
use crate::channel::Progress;
use crate::error_chain;

/// Warnings kept: enough to understand a failure, not one a page.
const KEPT_WARNINGS: usize = 20;

/// Figures of a restore, or of a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::dest) struct Counters {
    /// Bytes read from storage.
    pub(in crate::dest) storage_bytes: u64,
    /// Pages installed by us.
    pub(in crate::dest) installed: u64,
    /// Pages where QEMU had been before us.
    pub(in crate::dest) already_present: u64,
    /// Pages that have to travel by network.
    pub(in crate::dest) not_installed: u64,
    warnings: Vec<Text>,
}

impl Counters {
    /// Notes what happened, once; the log has all of it.
    pub(in crate::dest) fn warn(&mut self, trouble: &InstallTrouble) {
        let text = Text::from(error_chain(trouble));
        log::warn!("{text}");
        self.keep(text);
    }

    fn keep(&mut self, text: Text) {
        if self.warnings.len() < KEPT_WARNINGS && !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }

    /// Adds those of a part.
    pub(super) fn add(&mut self, part: Self) {
        self.storage_bytes += part.storage_bytes;
        self.installed += part.installed;
        self.already_present += part.already_present;
        self.not_installed += part.not_installed;
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
            already_present: self.already_present,
            not_installed: self.not_installed,
            queued: queued * size_of::<super::queue::Hash>() as u64,
        }
    }
}
