//! How long a list may be: nobody who reads one allocates more.

use page_number::PAGE_SHIFT;

use crate::protocol::MAX_LIST_BYTES;
use crate::{HEADER_BYTES, MAX_TABLE_BYTES, RUN_BYTES};

const HEAD_BYTES: u64 = (HEADER_BYTES + MAX_TABLE_BYTES) as u64;
const MOST_RUNS: u64 = (MAX_LIST_BYTES - HEAD_BYTES) / RUN_BYTES as u64;

/// What a list may have at most. The numbers of block devices and the lengths of their names are bounded by
/// the format ([`MAX_DEVICES`](crate::MAX_DEVICES), [`MAX_NAME_BYTES`](crate::MAX_NAME_BYTES)), its runs by the VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    runs: u64,
}

impl Bounds {
    /// Of a list whose VM is not known: [`MAX_LIST_BYTES`].
    pub const ANY: Self = Self { runs: MOST_RUNS };

    /// Of the list of a VM with so many bytes of RAM: a run has a page of it, and each page is named once.
    #[must_use]
    pub const fn of_ram(bytes: u64) -> Self {
        let pages = bytes >> PAGE_SHIFT;
        Self { runs: if pages < MOST_RUNS { pages } else { MOST_RUNS } }
    }

    /// Most runs.
    #[must_use]
    pub const fn runs(self) -> u64 {
        self.runs
    }

    /// Most bytes of the whole list.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        HEAD_BYTES + self.runs * RUN_BYTES as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_a_small_part_of_the_ram_that_it_is_of() {
        assert_eq!(Bounds::of_ram(256 << 20).runs(), 65_536);
        assert!(Bounds::of_ram(256 << 20).bytes() < (256 << 20) / 200);
        assert_eq!(Bounds::of_ram(u64::MAX), Bounds::ANY);
        assert!(Bounds::ANY.bytes() <= MAX_LIST_BYTES);
        assert_eq!(Bounds::of_ram(0).runs(), 0);
    }
}
