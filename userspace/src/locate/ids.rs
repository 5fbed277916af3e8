//! The names of pages, one type each.

use std::fmt;

use serde::Serialize;

/// A tablespace id (`FIL_PAGE_SPACE_ID`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SpaceId(pub u32);

impl SpaceId {
    /// The system tablespace, the only one of several files.
    pub const SYSTEM: Self = Self(0);
}

/// A page number within a tablespace (`FIL_PAGE_OFFSET`), in units of the space's page size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PageNo(pub u32);

impl fmt::Display for SpaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for PageNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
