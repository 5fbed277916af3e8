//! From a range of a file to ranges of the block device that its file system stands on.

use std::fs::File;
use std::io;

use super::fiemap::{self, RawExtent, for_each_extent};
use super::unmapped::Unmapped;

/// More extents than this in one file are not kept (40 bytes each).
const MAX_EXTENTS: usize = 1 << 18;

/// A run of a file that lies in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    /// Where it starts in the file, in bytes.
    start: u64,
    len: u64,
    /// Where it starts on the file system's device, or why that is of no use.
    at: Result<u64, Unmapped>,
}

/// The extents of one file in order, as they were when it was mapped.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Extents {
    extents: Vec<Extent>,
}

impl Extents {
    /// Queries the file system.
    ///
    /// # Errors
    /// The reason why the file has no map that could be used.
    pub(crate) fn of(file: &File) -> Result<Self, Unmapped> {
        let mut map = Self::default();
        let mut too_many = false;
        let result = for_each_extent(file, |raw| {
            map.push(raw);
            too_many = map.extents.len() > MAX_EXTENTS;
            !too_many
        });
        match result {
            Ok(()) if too_many => Err(Unmapped::ExtentsTooMany),
            Ok(()) => {
                map.extents.shrink_to_fit();
                Ok(map)
            }
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                Err(Unmapped::UnsupportedFilesystem)
            }
            Err(_) => Err(Unmapped::FileUnreadable),
        }
    }

    /// What they take.
    pub(super) fn bytes(&self) -> usize {
        self.extents.capacity() * size_of::<Extent>()
    }

    /// Calls `each(device offset, length)` for the pieces that hold `len` bytes from `start` of the
    /// file. `hint` is the index where the last search ended; ranges looked up in file order need no
    /// search at all.
    ///
    /// # Errors
    /// The reason why some of the range has no usable place; `each` may have been called before.
    pub(crate) fn resolve(
        &self,
        start: u64,
        len: u64,
        hint: &mut usize,
        mut each: impl FnMut(u64, u64) -> Result<(), Unmapped>,
    ) -> Result<(), Unmapped> {
        let end = start.checked_add(len).ok_or(Unmapped::BeyondEof)?;
        let mut at = start;
        let mut index = self.find(start, *hint).ok_or(Unmapped::ExtentHole)?;
        while at < end {
            let extent = match self.extents.get(index) {
                Some(extent) if extent.start <= at && at < extent.end() => extent,
                _ if at > start => return Err(Unmapped::ExtentCut),
                _ => return Err(Unmapped::ExtentHole),
            };
            let piece = end.min(extent.end()) - at;
            each(extent.at? + (at - extent.start), piece)?;
            at += piece;
            *hint = index;
            index += 1;
        }
        Ok(())
    }

    /// The run of the file around `start` that lies in one usable piece: where it starts in the file,
    /// its length, and where it starts on the device.
    pub(crate) fn around(&self, start: u64, hint: usize) -> Option<(u64, u64, u64)> {
        let extent = self.extents.get(self.find(start, hint)?)?;
        let inside = extent.start <= start && start < extent.end();
        inside.then_some((extent.start, extent.len, extent.at.ok()?))
    }

    /// Index of the last extent that starts at or before `start`.
    fn find(&self, start: u64, hint: usize) -> Option<usize> {
        for index in [hint, hint + 1] {
            let starts = |i: usize| self.extents.get(i).map(|extent| extent.start);
            if starts(index).is_some_and(|s| s <= start)
                && starts(index + 1).is_none_or(|s| start < s)
            {
                return Some(index);
            }
        }
        self.extents.partition_point(|extent| extent.start <= start).checked_sub(1)
    }

    fn push(&mut self, raw: &RawExtent) {
        if raw.length == 0 || raw.logical.checked_add(raw.length).is_none() {
            return;
        }
        let at = usable(raw);
        if let Some(last) = self.extents.last_mut()
            && last.end() == raw.logical
            && match (last.at, at) {
                (Ok(before), Ok(now)) => before.checked_add(last.len) == Some(now),
                (before, now) => before == now,
            }
        {
            last.len += raw.length;
            return;
        }
        let in_order = self.extents.last().is_none_or(|last| last.end() <= raw.logical);
        if in_order {
            self.extents.push(Extent { start: raw.logical, len: raw.length, at });
        }
    }
}

impl Extent {
    fn end(&self) -> u64 {
        self.start + self.len // `push` has checked the sum
    }
}

/// Whether the bytes of an extent are on the device, as they are, at its physical address.
///
/// Shared extents are refused although they are right at this moment: the next write of the page
/// goes elsewhere, so that the map is wrong for exactly the pages that are used.
fn usable(raw: &RawExtent) -> Result<u64, Unmapped> {
    const REASONS: [(u32, Unmapped); 6] = [
        (fiemap::DELALLOC, Unmapped::ExtentDelayed), // sets UNKNOWN as well
        (fiemap::ENCODED | fiemap::DATA_ENCRYPTED, Unmapped::ExtentEncoded),
        (fiemap::DATA_INLINE | fiemap::DATA_TAIL | fiemap::NOT_ALIGNED, Unmapped::ExtentInline),
        (fiemap::UNKNOWN, Unmapped::ExtentUnknown),
        (fiemap::UNWRITTEN, Unmapped::ExtentUnwritten),
        (fiemap::SHARED, Unmapped::ExtentShared),
    ];
    for (flags, reason) in REASONS {
        if raw.flags & flags != 0 {
            return Err(reason);
        }
    }
    match raw.flags & !(fiemap::LAST | fiemap::MERGED) {
        0 if raw.physical.checked_add(raw.length).is_some() => Ok(raw.physical),
        _ => Err(Unmapped::ExtentUnknown), // a flag that came after this was written
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw(logical: u64, physical: u64, length: u64, flags: u32) -> RawExtent {
        RawExtent { logical, physical, length, flags, ..RawExtent::default() }
    }

    fn map(raws: &[RawExtent]) -> Extents {
        let mut map = Extents::default();
        raws.iter().for_each(|raw| map.push(raw));
        map
    }

    fn pieces(map: &Extents, start: u64, len: u64) -> Result<Vec<(u64, u64)>, Unmapped> {
        let mut pieces = Vec::new();
        map.resolve(start, len, &mut 0, |at, len| {
            pieces.push((at, len));
            Ok(())
        })?;
        Ok(pieces)
    }

    #[test]
    fn a_page_may_lie_in_several_pieces() {
        let map = map(&[raw(0, 8192, 4096, 0), raw(4096, 90112, 12288, fiemap::LAST)]);
        assert_eq!(pieces(&map, 0, 16384), Ok(vec![(8192, 4096), (90112, 12288)]));
        assert_eq!(pieces(&map, 16384, 4096), Err(Unmapped::ExtentHole));
        assert_eq!(pieces(&map, 8192, 16384), Err(Unmapped::ExtentCut));
        assert_eq!(pieces(&map, u64::MAX, 16384), Err(Unmapped::BeyondEof));
    }

    /// ext4 cuts extents at 128 MiB; on disk they follow each other.
    #[test]
    fn pieces_that_follow_each_other_are_one() {
        let map = map(&[raw(0, 4096, 4096, 0), raw(4096, 8192, 4096, fiemap::LAST)]);
        assert_eq!(map.extents.len(), 1);
        assert_eq!(pieces(&map, 0, 8192), Ok(vec![(4096, 8192)]));
    }

    #[test]
    fn every_flag_has_its_reason() {
        let cases = [
            (fiemap::UNKNOWN | fiemap::DELALLOC, Unmapped::ExtentDelayed),
            (fiemap::UNWRITTEN, Unmapped::ExtentUnwritten),
            (fiemap::UNWRITTEN | fiemap::LAST, Unmapped::ExtentUnwritten),
            (fiemap::ENCODED | fiemap::DATA_ENCRYPTED, Unmapped::ExtentEncoded),
            (fiemap::DATA_INLINE | fiemap::NOT_ALIGNED, Unmapped::ExtentInline),
            (fiemap::DATA_TAIL | fiemap::NOT_ALIGNED, Unmapped::ExtentInline),
            (fiemap::SHARED, Unmapped::ExtentShared),
            (fiemap::UNKNOWN, Unmapped::ExtentUnknown),
            (0x8000_0000, Unmapped::ExtentUnknown),
        ];
        for (flags, reason) in cases {
            assert_eq!(pieces(&map(&[raw(0, 0, 4096, flags)]), 0, 4096), Err(reason), "{flags:#x}");
        }
        assert!(pieces(&map(&[raw(0, 0, 4096, fiemap::MERGED)]), 0, 4096).is_ok());
    }

    proptest! {
        /// The answer does not depend on where the last search ended, and covers the range exactly.
        #[test]
        fn the_hint_changes_nothing(
            lengths in prop::collection::vec((1_u64..5, any::<bool>()), 1..20),
            start in 0_u64..60, len in 1_u64..6, mut hint in 0_usize..30,
        ) {
            let mut at = 0;
            let mut raws = Vec::new();
            for (index, (length, hole)) in (0_u64..).zip(&lengths) {
                if !hole {
                    raws.push(raw(at, 1000 * index, *length, 0));
                }
                at += length;
            }
            let map = map(&raws);
            let plain = pieces(&map, start, len);
            let mut hinted = Vec::new();
            let answer = map.resolve(start, len, &mut hint, |at, len| {
                hinted.push((at, len));
                Ok(())
            });
            prop_assert_eq!(&plain, &answer.map(|()| hinted));
            if let Ok(pieces) = plain {
                prop_assert_eq!(pieces.iter().map(|(_, len)| len).sum::<u64>(), len);
            }
        }
    }
}
