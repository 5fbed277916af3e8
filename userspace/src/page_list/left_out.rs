//! Slots whose pages are not on a list, by reason.

use std::collections::BTreeMap;

use crate::classify::Reason;

/// Counts by reason. There are few reasons, so a list is quicker than a map.
#[derive(Debug, Default)]
pub struct LeftOut {
    counts: Vec<(Reason, u64)>,
}

impl LeftOut {
    /// Counts one.
    #[inline]
    pub fn add(&mut self, reason: Reason) {
        self.add_many(reason, 1);
    }

    #[inline]
    fn add_many(&mut self, reason: Reason, more: u64) {
        match self.counts.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += more,
            None => self.counts.push((reason, more)),
        }
    }

    pub(super) fn join(&mut self, other: Self) {
        for (reason, count) in other.counts {
            self.add_many(reason, count);
        }
    }

    /// Counts by stable name.
    pub(super) fn names(&self) -> BTreeMap<String, u64> {
        let mut names = BTreeMap::new();
        for (reason, count) in &self.counts {
            *names.entry(reason.name().to_owned()).or_default() += count;
        }
        names
    }
}
