//! Pages that follow each other.

use crate::PAGE_BYTES;

/// At least one page, and none beyond the highest address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RamRange {
    first: u64,
    count: u32,
}

impl RamRange {
    /// `count` pages from number `first` on; `None` where that is none, or an address in it has no number.
    #[must_use]
    pub const fn new(first: u64, count: u32) -> Option<Self> {
        let Some(end) = first.checked_add(count as u64) else { return None };
        if count == 0 || end > u64::MAX / PAGE_BYTES { None } else { Some(Self { first, count }) }
    }

    /// `count` pages from an offset in bytes on; `None` also where no page begins there.
    #[must_use]
    pub const fn at(offset: u64, count: u32) -> Option<Self> {
        if offset.is_multiple_of(PAGE_BYTES) { Self::new(offset / PAGE_BYTES, count) } else { None }
    }

    /// Number of the first page.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// Number of pages.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Number behind the last page.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.first.saturating_add(self.count as u64)
    }

    /// Length in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        (self.count as u64).saturating_mul(PAGE_BYTES)
    }

    /// Offset of the first byte.
    #[must_use]
    pub const fn start_bytes(&self) -> u64 {
        self.first.saturating_mul(PAGE_BYTES)
    }

    /// Offset behind the last byte.
    #[must_use]
    pub const fn end_bytes(&self) -> u64 {
        self.end().saturating_mul(PAGE_BYTES)
    }

    /// Whether the two share a page.
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.first < other.end() && other.first < self.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_range_is_none() {
        let last = u64::MAX / PAGE_BYTES;
        assert_eq!(RamRange::new(7, 0), None);
        assert_eq!(RamRange::new(last, 1), None, "its end has no address");
        assert_eq!(RamRange::new(u64::MAX, 1), None);
        assert_eq!(RamRange::at(4095, 1), None);
        let range = RamRange::new(last - 1, 1).unwrap();
        assert_eq!((range.end(), range.end_bytes()), (last, last * PAGE_BYTES));
    }

    #[test]
    fn a_range_is_where_it_says() {
        let range = RamRange::at(5 * PAGE_BYTES, 3).unwrap();
        assert_eq!((range.first(), range.end(), range.count()), (5, 8, 3));
        let bytes = (range.start_bytes(), range.end_bytes(), range.bytes());
        assert_eq!(bytes, (5 * PAGE_BYTES, 8 * PAGE_BYTES, 3 * PAGE_BYTES));
        for (first, count, overlaps) in [(0, 5, false), (0, 6, true), (7, 1, true), (8, 1, false)] {
            let other = RamRange::new(first, count).unwrap();
            assert_eq!((range.overlaps(&other), other.overlaps(&range)), (overlaps, overlaps));
        }
    }
}
