//! Where functions start, by the table that C++ needs to unwind the stack.
//!
//! It stands in every C++ program, stripped ones too: `.eh_frame` has a range of addresses for each
//! function (and for each part of one that the compiler moved away), `.eh_frame_hdr` a sorted index
//! (Linux Standard Base Core 5.0, 10.6).

use std::ops::Range;

use gimli::{EhFrame, EhFrameOffset, LittleEndian, UnwindSection as _};

use super::error::TextError;
use super::segment::Segment;
use crate::addr::LinkAddr;
use crate::eh_frame::PointerBases;

/// Most bytes of the index that are believed; that of a server has some four million.
const MAX_INDEX: u64 = 24 << 20;

/// Most bytes of one entry of the table; those of a server have some hundred.
const MAX_ENTRY: u64 = 64 << 10;

/// Rows of the index that are read at once, when so few are left.
const FEW_ROWS: u64 = 512;

/// How an index begins: its version, then how it writes the address of the table (four bytes, relative to their place), its
/// count (four bytes) and its rows (twice four bytes, relative to the index). GNU ld, gold, lld and mold write no other;
/// gimli takes any, and multiplies and subtracts what it finds unchecked.
const FORM: [u8; 4] = [1, 0x1b, 0x03, 0x3b];

/// Bytes of a row: where a function starts, and where the table has it.
const ROW: usize = 8;

/// Bytes of the index before its rows.
const HEAD: u64 = 12;

/// A program's bytes by the link addresses that they are mapped at.
pub(super) trait Mapped {
    /// The segment whose bytes in the file hold all of `range`.
    fn segment(&self, range: &Range<u64>) -> Option<Segment>;

    /// `len` bytes from `at` bytes into the file on; the caller bounds `len`.
    fn bytes(&self, at: u64, len: u64) -> Result<Vec<u8>, TextError>;
}

/// The table and its index, both in the file: a search reads some rows of one and an entry of the other.
#[derive(Debug, Default)]
pub(super) struct Unwind {
    /// Link address of the index.
    index: u64,
    /// Number of its rows.
    rows: u64,
    /// Link addresses of the table, as far as its segment goes.
    table: Range<u64>,
}

impl Unwind {
    /// Reads how the index begins; `header` are its link addresses. Nothing is found later where that makes no
    /// sense, which proves nothing then.
    pub(super) fn read(text: &impl Mapped, header: Range<u64>) -> Result<Self, TextError> {
        let index = header.start;
        let len = (header.end.saturating_sub(index)).min(MAX_INDEX);
        let head = mapped(text, index..index.saturating_add(HEAD.min(len)))?;
        let Some((start, count)) = head.as_deref().and_then(|head| head_of(index, head)) else {
            return Ok(Self::default());
        };
        let end = text
            .segment(&(start..start.saturating_add(1)))
            .and_then(|segment| segment.addr.checked_add(segment.len));
        let rows = u64::from(count).min((len - HEAD) / ROW as u64);
        Ok(Self { index, rows, table: start..end.unwrap_or(start) })
    }

    /// The range that holds `addr`.
    pub(super) fn function(
        &self,
        text: &impl Mapped,
        addr: LinkAddr,
    ) -> Result<Option<Range<u64>>, TextError> {
        let Some(row) = self.row(text, addr)? else { return Ok(None) };
        let Some(at) = near(self.index, &row[4..]) else { return Ok(None) };
        let Some(entry) = self.entry(text, at)? else { return Ok(None) };
        // An entry tells how far before it lies what it has in common with others: the two are put together.
        let Some(shared_at) = entry.pointer(at) else { return Ok(None) };
        let Some(shared) = self.entry(text, shared_at)? else { return Ok(None) };
        Ok(function_of(self.index, at, &entry, &shared).filter(|range| range.contains(&addr.0)))
    }

    /// The last row that does not start after `addr`. Where the rows are in no order, what it leads to does not hold
    /// the address.
    fn row(&self, text: &impl Mapped, addr: LinkAddr) -> Result<Option<[u8; ROW]>, TextError> {
        let starts = |row: &[u8; ROW]| near(self.index, row).is_none_or(|start| start <= addr.0);
        let (mut first, mut end) = (0, self.rows);
        let mut before = None;
        while first < end {
            let few = (end - first).min(FEW_ROWS);
            let (at, len) =
                if few == end - first { (first, few) } else { (first.midpoint(end), 1) };
            let Some(bytes) = self.rows_at(text, at, len)? else { return Ok(None) };
            let (rows, _) = bytes.as_chunks::<ROW>();
            let after = rows.partition_point(starts);
            if let Some(row) = after.checked_sub(1).and_then(|last| rows.get(last)) {
                before = Some(*row);
            }
            match (len == few, after) {
                (true, _) => break,
                (false, 0) => end = at,
                (false, _) => first = at + 1,
            }
        }
        Ok(before)
    }

    fn rows_at(
        &self,
        text: &impl Mapped,
        first: u64,
        count: u64,
    ) -> Result<Option<Vec<u8>>, TextError> {
        let row = ROW as u64;
        let Some(start) = self.index.checked_add(HEAD + first * row) else { return Ok(None) };
        mapped(text, start..start.saturating_add(count * row))
    }

    /// The entry of the table at the link address `at`.
    fn entry(&self, text: &impl Mapped, at: u64) -> Result<Option<Entry>, TextError> {
        const LEN: u64 = 4;
        let inside =
            |end: u64| (at >= self.table.start && end <= self.table.end).then_some(at..end);
        let Some(head) = inside(at.saturating_add(LEN)) else { return Ok(None) };
        let Some(len) = mapped(text, head)? else { return Ok(None) };
        let Some(len) = len.first_chunk().map(|len| u64::from(u32::from_le_bytes(*len))) else {
            return Ok(None);
        };
        // 0 ends the table; a length of 64 bits (0xffffffff) is beyond the limit.
        if len == 0 || len > MAX_ENTRY {
            return Ok(None);
        }
        let Some(all) = inside(at.saturating_add(LEN + len)) else { return Ok(None) };
        Ok(mapped(text, all)?.map(Entry))
    }
}

/// An entry of the table, with its length in front.
struct Entry(Vec<u8>);

impl Entry {
    /// Where the entry that it shares lies, by the distance from the place of that number; `at` is its own place.
    fn pointer(&self, at: u64) -> Option<u64> {
        let distance = u32::from_le_bytes(*self.0.get(4..)?.first_chunk()?);
        at.checked_add(4)?.checked_sub(distance.into()).filter(|_| distance != 0)
    }
}

/// The range of an entry at `at`, by what it shares with others.
fn function_of(index: u64, at: u64, entry: &Entry, shared: &Entry) -> Option<Range<u64>> {
    let mut table = shared.0.clone();
    let place = table.len();
    table.extend_from_slice(&entry.0);
    let distance = u32::try_from(place + 4).ok()?;
    table.get_mut(place + 4..place + 8)?.copy_from_slice(&distance.to_le_bytes());
    // Addresses are relative to where the entry lies in the program.
    let start = LinkAddr(at.wrapping_sub(place as u64));
    let frames = EhFrame::new(&table, LittleEndian);
    let bases = PointerBases { table: Some(start), index: Some(LinkAddr(index)), text: None };
    let bases = bases.addresses();
    let found = frames.fde_from_offset(&bases, EhFrameOffset(place), EhFrame::cie_from_offset);
    let found = found.ok()?;
    Some(found.initial_address()..found.end_address())
}

/// The bytes of the file at these link addresses; none where no segment has all of them.
fn mapped(text: &impl Mapped, range: Range<u64>) -> Result<Option<Vec<u8>>, TextError> {
    let Some(segment) = text.segment(&range) else { return Ok(None) };
    let Some(at) = segment.offset.checked_add(range.start - segment.addr) else { return Ok(None) };
    text.bytes(at, range.end - range.start).map(Some)
}

/// Link address of the table, and how many rows the index at `index` has.
fn head_of(index: u64, head: &[u8]) -> Option<(u64, u32)> {
    let rest = head.strip_prefix(&FORM)?;
    let (start, rest) = rest.split_first_chunk::<4>()?;
    let count = u32::from_le_bytes(*rest.first_chunk::<4>()?);
    Some((near(index.checked_add(FORM.len() as u64)?, start)?, count))
}

/// The address that four bytes give relative to `base`.
fn near(base: u64, bytes: &[u8]) -> Option<u64> {
    let distance = i32::from_le_bytes(*bytes.first_chunk()?);
    base.checked_add_signed(distance.into())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::addr::LinkAddr;
    use crate::elf::Program;
    use crate::kin::functions_of;
    use crate::text::ProgramText;

    /// This test's own program, beside what is found by reading the whole table.
    #[test]
    fn a_row_and_an_entry_are_enough() {
        let path = Path::new("/proc/self/exe");
        let (text, program) = (ProgramText::open(path).unwrap(), Program::open(path).unwrap());
        let all = functions_of(&program).unwrap();
        assert!(all.len() > 1000, "{}", all.len());
        let few = all.len() / 500;
        let picked = all.iter().enumerate().filter(|(number, _)| number % few == 0);
        for range in [&all[0], &all[all.len() - 1]].into_iter().chain(picked.map(|(_, of)| of)) {
            for addr in [range.start, range.start.midpoint(range.end), range.end - 1] {
                assert_eq!(text.unwound(LinkAddr(addr)).unwrap().as_ref(), Some(range));
            }
        }
        let outside = LinkAddr(all[0].start - 1);
        assert_eq!(text.unwound(outside).unwrap(), None);
    }
}
