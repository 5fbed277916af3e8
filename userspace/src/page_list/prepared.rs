//! What one list leaves to the next: while the server is watched, a list at migration is that of
//! before with what changed since.
//!
//! | kept | true as long as |
//! |---|---|
//! | pages and the words they were judged with ([`Noted`]) | no event and no repair of the block |
//! | their places ([`Placer`]) | each stretch is found again where it was |
//! | their frames | none in the table of all frames, translated for each list, is another |
//! | the number of runs | all of these |
//!
//! Whatever does not hold is made anew: a page alone, or all of it.

use std::sync::Arc;

use super::frame_table::FrameTable;
use super::noted::Noted;
use super::place::Placer;
use super::placed::Placed;
use crate::geometry::Geometry;
use crate::locate::Locator;
use crate::residency::Residency;

/// Stretches that are looked up again for each list; beyond that a list made anew is quicker.
const MAX_STRAIGHTS: usize = 1 << 16;

/// A list kept for the next one.
#[derive(Default)]
pub struct Prepared(Option<Kept>);

/// All that is kept.
pub(super) struct Kept {
    pub(super) noted: Noted,
    pub(super) placer: Placer,
    pub(super) placed: Arc<Placed>,
    pub(super) table: FrameTable,
}

impl Kept {
    /// Nothing yet. Without a residency table nothing needs to be noted.
    pub(super) fn nothing(geometry: &Geometry, residency: Option<&Residency>) -> Self {
        let blocks = residency.map_or(0, |_| geometry.blocks());
        Self {
            noted: Noted::nothing(blocks, residency),
            placer: Placer::new(geometry.page_size),
            placed: Arc::default(),
            table: FrameTable::default(),
        }
    }
}

impl Prepared {
    /// Takes what still holds. It is lost when the list that follows fails.
    pub(super) fn take(
        &mut self,
        geometry: &Geometry,
        residency: &Residency,
        locator: &mut Locator,
    ) -> Kept {
        self.0
            .take()
            .filter(|kept| kept.noted.are_of(geometry.blocks(), residency))
            // A list that somebody still holds cannot be changed.
            .filter(|kept| Arc::strong_count(&kept.placed) == 1)
            .filter(|kept| kept.placer.straights() <= MAX_STRAIGHTS)
            .and_then(|mut kept| kept.placer.holds(locator).then_some(kept))
            .unwrap_or_else(|| Kept::nothing(geometry, Some(residency)))
    }

    /// Keeps it for the next list.
    pub(super) fn keep(&mut self, kept: Kept) {
        self.0 = Some(kept);
    }
}
