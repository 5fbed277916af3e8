//! Which unit.

/// A unit of one of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct UnitId {
    pub(super) file: usize,
    pub(super) slot: usize,
}
