//! Which tables are shown, and in which order.

use std::cmp::Ordering;

use crate::model::TableRow;

/// Characters that the filter line takes.
const FILTER_LENGTH: usize = 64;

/// Part of a name that a table must have to be shown; letters match in either case.
#[derive(Clone, Debug, Default)]
pub(super) struct NameFilter {
    pub(super) text: String,
    /// Whether keys go to the filter line.
    pub(super) editing: bool,
}

impl NameFilter {
    pub(super) fn push(&mut self, c: char) {
        if self.text.chars().count() < FILTER_LENGTH && !c.is_control() {
            self.text.push(c);
        }
    }
}

/// Column by which tables are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SortKey {
    Resident,
    Dirty,
    Eligible,
    File,
    Name,
}

/// Order of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sort {
    pub(super) key: SortKey,
    /// Against the column's own order (largest first; names from A).
    pub(super) reverse: bool,
}

impl Default for Sort {
    fn default() -> Self {
        Self { key: SortKey::Resident, reverse: false }
    }
}

impl Sort {
    /// The next column in its own order.
    pub(super) const fn next(self) -> Self {
        let key = match self.key {
            SortKey::Resident => SortKey::Dirty,
            SortKey::Dirty => SortKey::Eligible,
            SortKey::Eligible => SortKey::File,
            SortKey::File => SortKey::Name,
            SortKey::Name => SortKey::Resident,
        };
        Self { key, reverse: false }
    }

    /// The same column the other way round.
    pub(super) const fn reversed(self) -> Self {
        Self { reverse: !self.reverse, ..self }
    }

    /// Indices of the tables that pass the filter, in order; equals stand in the order of names.
    pub(super) fn arrange(self, tables: &[TableRow], filter: &NameFilter) -> Vec<usize> {
        let wanted = filter.text.to_lowercase();
        let mut shown: Vec<usize> = (0..tables.len())
            .filter(|i| wanted.is_empty() || tables[*i].name.raw().to_lowercase().contains(&wanted))
            .collect();
        shown.sort_by(|a, b| {
            let order = self.compare(&tables[*a], &tables[*b]);
            if self.reverse { order.reverse() } else { order }
        });
        shown
    }

    fn compare(self, a: &TableRow, b: &TableRow) -> Ordering {
        let size = |row: &TableRow| match self.key {
            SortKey::Resident => row.resident_bytes,
            SortKey::Dirty => row.dirty_bytes,
            SortKey::Eligible => row.eligible_bytes,
            SortKey::File => row.file_bytes,
            SortKey::Name => 0,
        };
        size(b).cmp(&size(a)).then_with(|| a.name.cmp(&b.name)).then(a.space.cmp(&b.space))
    }
}
