//! The set of pages that a migration skips: where each lies in RAM, and where on storage.
//!
//! Both hosts hold the same set and number its pages 0, 1, 2, ... in the order of the runs, which is
//! the order of the storage. Everything after the offer speaks of these numbers.

use std::ops::Range;

use page_number::{MAX_NUMBERED_PAGES, PAGE_BYTES, PageIndex, RamRange, UNIT_BYTES};
use thiserror::Error;

/// Bytes of a run on the channel.
pub const RUN_BYTES: usize = 24;

/// Name of the device of pages that are all zeros, which are read nowhere. Their runs come first in a set.
pub const ZERO_DEVICE: &str = "zero";

/// Pages of one RAM block that follow each other there and on storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetRun {
    /// Index in [`SkipSet::blocks`].
    pub block: u16,
    /// Index in [`SkipSet::devices`].
    pub device: u16,
    /// Number of pages, at least 1.
    pub pages: u32,
    /// Offset of the first page in the RAM block, in bytes; page-aligned.
    pub offset: u64,
    /// Offset of its bytes on the device; a multiple of 512.
    pub place: u64,
}

impl SetRun {
    /// Length in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.pages as u64 * PAGE_BYTES
    }

    /// Its pages in the RAM block; `None` where it has none, or begins within one.
    #[must_use]
    pub const fn range(&self) -> Option<RamRange> {
        RamRange::at(self.offset, self.pages)
    }

    /// As it stands on the channel, little-endian: 2 block, 2 device, 4 pages, 8 offset, 8 place.
    #[must_use]
    pub fn to_bytes(self) -> [u8; RUN_BYTES] {
        let mut bytes = [0; RUN_BYTES];
        bytes[..2].copy_from_slice(&self.block.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.device.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.pages.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.offset.to_le_bytes());
        bytes[16..].copy_from_slice(&self.place.to_le_bytes());
        bytes
    }

    /// The inverse of [`Self::to_bytes`]; nothing is checked.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; RUN_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = *bytes;
        let [o0, o1, o2, o3, o4, o5, o6, o7, rest @ ..] = rest;
        Self {
            block: u16::from_le_bytes([a, b]),
            device: u16::from_le_bytes([c, d]),
            pages: u32::from_le_bytes([e, f, g, h]),
            offset: u64::from_le_bytes([o0, o1, o2, o3, o4, o5, o6, o7]),
            place: u64::from_le_bytes(rest),
        }
    }
}

/// A RAM block that runs point into.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Block {
    /// QEMU's id of it (`RAMBlock.idstr`), the same on both sides.
    pub name: String,
    /// Used length in bytes.
    pub length: u64,
}

/// A set that is no set.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SetError {
    /// A run without pages, or with an offset that is not that of a page.
    #[error("run {0} is empty or not aligned")]
    Unaligned(usize),
    /// A run points to a block or a device that does not exist.
    #[error("run {0} names an unknown RAM block or device")]
    Unknown(usize),
    /// A run reaches beyond its RAM block or the highest offset.
    #[error("run {0} reaches beyond its RAM block")]
    Beyond(usize),
    /// Two runs share a page.
    #[error("two runs share the page at offset {offset:#x} of block {block}")]
    Overlap {
        /// Index of the block.
        block: u16,
        /// Offset in it, in bytes.
        offset: u64,
    },
    /// More pages than a set holds.
    #[error("more than {MAX_NUMBERED_PAGES} pages")]
    TooLarge,
}

/// The set, checked: runs lie in their blocks and share no page.
#[derive(Clone, Debug, Default)]
pub struct SkipSet {
    blocks: Vec<Block>,
    devices: Vec<String>,
    runs: Vec<SetRun>,
    /// Number of the first page of each run, and at last the number of pages.
    firsts: Vec<u32>,
}

impl SkipSet {
    /// Checks and numbers the runs, which keep their order.
    ///
    /// # Errors
    /// [`SetError`] names the first run that is wrong.
    pub fn new(
        blocks: Vec<Block>,
        devices: Vec<String>,
        runs: Vec<SetRun>,
    ) -> Result<Self, SetError> {
        if runs.len() as u64 > MAX_NUMBERED_PAGES {
            return Err(SetError::TooLarge);
        }
        let mut firsts = Vec::with_capacity(runs.len() + 1);
        let mut pages = 0_u64;
        for (index, run) in runs.iter().enumerate() {
            let aligned =
                run.offset.is_multiple_of(PAGE_BYTES) && run.place.is_multiple_of(UNIT_BYTES);
            if run.pages == 0 || !aligned {
                return Err(SetError::Unaligned(index));
            }
            let block = blocks.get(usize::from(run.block)).ok_or(SetError::Unknown(index))?;
            devices.get(usize::from(run.device)).ok_or(SetError::Unknown(index))?;
            let range = run.range().ok_or(SetError::Beyond(index))?;
            if range.end_bytes() > block.length.min(MAX_NUMBERED_PAGES * PAGE_BYTES)
                || run.place.checked_add(run.bytes()).is_none()
            {
                return Err(SetError::Beyond(index));
            }
            firsts.push(u32::try_from(pages).map_err(|_| SetError::TooLarge)?);
            pages += u64::from(run.pages);
        }
        firsts.push(u32::try_from(pages).map_err(|_| SetError::TooLarge)?);
        let set = Self { blocks, devices, runs, firsts };
        let mut before: Option<SetRun> = None;
        for (_, run) in set.in_ram_order() {
            let overlaps = |before: SetRun| {
                before.block == run.block
                    && before.range().zip(run.range()).is_some_and(|(a, b)| a.overlaps(&b))
            };
            if before.is_some_and(overlaps) {
                return Err(SetError::Overlap { block: run.block, offset: run.offset });
            }
            before = Some(run);
        }
        Ok(set)
    }

    /// The RAM blocks.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Names of the devices as the guest's list has them (`serial:...`, `pci:...`).
    #[must_use]
    pub fn devices(&self) -> &[String] {
        &self.devices
    }

    /// The runs in the order of the storage.
    #[must_use]
    pub fn runs(&self) -> &[SetRun] {
        &self.runs
    }

    /// Number of pages.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.firsts.last().copied().unwrap_or(0)
    }

    /// Number of zero pages: the set's first ones.
    #[must_use]
    pub fn zero_pages(&self) -> u32 {
        let is_zero = |device: u16| {
            self.devices.get(usize::from(device)).is_some_and(|name| name == ZERO_DEVICE)
        };
        let runs = self.runs.iter().take_while(|run| is_zero(run.device)).count();
        self.firsts.get(runs).copied().unwrap_or(0)
    }

    /// Bytes of RAM that the set covers.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::from(self.pages()) * PAGE_BYTES
    }

    /// Bytes of the pages that lie on storage: all but the zero pages.
    #[must_use]
    pub fn bytes_on_storage(&self) -> u64 {
        u64::from(self.pages() - self.zero_pages()) * PAGE_BYTES
    }

    /// Runs with the number of their first page, by block and offset. Takes 12 bytes a run while it lasts: a guest
    /// whose pages are all apart has as many runs as pages.
    pub fn in_ram_order(&self) -> impl Iterator<Item = (PageIndex, SetRun)> + '_ {
        let place = |(run, at): (usize, &SetRun)| {
            // `new` has made sure that both fit.
            let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
            (at.block, number(at.offset / PAGE_BYTES), number(run as u64))
        };
        let mut order: Vec<(u16, u32, u32)> = self.runs.iter().enumerate().map(place).collect();
        order.sort_unstable();
        order.into_iter().filter_map(|(_, _, run)| {
            let run = run as usize;
            Some((PageIndex(*self.firsts.get(run)?), *self.runs.get(run)?))
        })
    }

    /// The pieces of runs that the pages `range` consist of, with the number of their first page.
    /// Numbers beyond the set are left out.
    pub fn pieces(&self, range: Range<u32>) -> impl Iterator<Item = (PageIndex, SetRun)> + '_ {
        let end = range.end.min(self.pages());
        // The run that holds the first page: the last one that starts at or before it.
        let run = self.firsts.partition_point(|first| *first <= range.start).saturating_sub(1);
        let from = range.start;
        self.runs.iter().zip(&self.firsts).skip(run).map_while(move |(run, first)| {
            let (start, stop) = (from.max(*first), end.min(first + run.pages));
            (start < stop).then(|| {
                let ahead = u64::from(start - first) * PAGE_BYTES;
                let piece = SetRun {
                    pages: stop - start,
                    offset: run.offset + ahead,
                    place: run.place + ahead,
                    ..*run
                };
                (PageIndex(start), piece)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> Vec<Block> {
        vec![Block { name: "mem0".into(), length: 1 << 20 }]
    }

    fn run(page: u64, pages: u32, place: u64) -> SetRun {
        SetRun { block: 0, device: 0, pages, offset: page * PAGE_BYTES, place }
    }

    fn set(runs: Vec<SetRun>) -> Result<SkipSet, SetError> {
        SkipSet::new(block(), vec!["serial:a".into()], runs)
    }

    #[test]
    fn pages_are_numbered_in_the_order_of_the_runs() {
        let set = set(vec![run(10, 3, 0), run(2, 4, 1 << 20)]).unwrap();
        assert_eq!(set.pages(), 7);
        let pieces: Vec<_> = set.pieces(1..5).collect();
        assert_eq!(pieces, [(PageIndex(1), run(11, 2, 4096)), (PageIndex(3), run(2, 2, 1 << 20))]);
        assert_eq!(set.pieces(0..u32::MAX).map(|(_, r)| r.pages).sum::<u32>(), 7);
        assert_eq!(set.pieces(7..9).count(), 0);
        assert_eq!(set.in_ram_order().next(), Some((PageIndex(3), run(2, 4, 1 << 20))));
    }

    #[test]
    fn what_is_no_set_is_refused() {
        assert_eq!(set(vec![run(0, 0, 0)]).unwrap_err(), SetError::Unaligned(0));
        assert_eq!(set(vec![run(0, 1, 7)]).unwrap_err(), SetError::Unaligned(0));
        assert_eq!(set(vec![run(255, 2, 0)]).unwrap_err(), SetError::Beyond(0));
        assert_eq!(set(vec![run(u64::MAX / 4096, 2, 0)]).unwrap_err(), SetError::Beyond(0));
        let other = SetRun { block: 1, ..run(0, 1, 0) };
        assert_eq!(set(vec![other]).unwrap_err(), SetError::Unknown(0));
        let overlap = set(vec![run(4, 2, 0), run(5, 2, 1 << 16)]).unwrap_err();
        assert_eq!(overlap, SetError::Overlap { block: 0, offset: 5 * PAGE_BYTES });
    }

    #[test]
    fn zero_pages_come_first() {
        let devices = |names: [&str; 2]| names.map(str::to_owned).to_vec();
        let zero = SetRun { device: 1, ..run(10, 3, 0) };
        let runs = vec![zero, run(2, 4, 1 << 20), SetRun { offset: 1 << 19, ..zero }];
        let set = SkipSet::new(block(), devices(["serial:a", ZERO_DEVICE]), runs.clone()).unwrap();
        assert_eq!((set.zero_pages(), set.pages()), (3, 10));
        let none = SkipSet::new(block(), devices(["serial:a", "serial:b"]), runs).unwrap();
        assert_eq!((none.zero_pages(), SkipSet::default().zero_pages()), (0, 0));
    }

    #[test]
    fn runs_survive_the_channel() {
        let run = SetRun { block: 7, device: 9, pages: 12, offset: 1 << 40, place: 512 };
        assert_eq!(SetRun::from_bytes(&run.to_bytes()), run);
    }
}
