//! What one list leaves to the next: while the source has events, a list at migration is that of
//! before with what changed since.
//!
//! | kept | true as long as |
//! |---|---|
//! | pages and the words they were judged with ([`Judged`]) | no event of the slot, and the same edition |
//! | their places ([`PageLocator`]) | each stretch is found again where it was |
//! | their frames | none in the table of all frames, translated for each list, is another |
//! | the number of runs | all of these |
//!
//! Whatever does not hold is made anew: a page alone, or all of it.

use std::sync::Arc;

use super::located::{FrameTable, Located, PageLocator};
use super::source::{Judged, PageSource};
use crate::on_disk::DiskFinder;

/// Stretches that are looked up again for each list; beyond that a list made anew is quicker.
const MAX_STRAIGHTS: usize = 1 << 16;

/// A list kept for the next one.
#[derive(Default)]
pub struct ListCache(Option<CachedList>);

/// All that is kept.
pub(super) struct CachedList {
    pub(super) judged: Judged,
    pub(super) page_locator: PageLocator,
    pub(super) located: Arc<Located>,
    pub(super) table: FrameTable,
}

impl CachedList {
    /// Nothing yet. Without words nothing needs to be remembered.
    pub(super) fn nothing(source: &impl PageSource) -> Self {
        let slots = if source.has_words() { source.slots() } else { 0 };
        Self {
            judged: Judged::of_slots(slots, source.edition()),
            page_locator: PageLocator::new(source.page_bytes()),
            located: Arc::default(),
            table: FrameTable::default(),
        }
    }
}

impl ListCache {
    /// Takes what still holds. It is lost when the list that follows fails.
    pub(super) fn take(&mut self, source: &impl PageSource, finder: &mut DiskFinder) -> CachedList {
        self.0
            .take()
            .filter(|_| source.has_words())
            .filter(|kept| kept.judged.are_of(source.slots(), source.edition()))
            // A list that somebody still holds cannot be changed.
            .filter(|kept| Arc::strong_count(&kept.located) == 1)
            .filter(|kept| kept.page_locator.straights() <= MAX_STRAIGHTS)
            .and_then(|mut kept| kept.page_locator.holds(source, finder).then_some(kept))
            .unwrap_or_else(|| CachedList::nothing(source))
    }

    /// Keeps it for the next list.
    pub(super) fn keep(&mut self, kept: CachedList) {
        self.0 = Some(kept);
    }
}
