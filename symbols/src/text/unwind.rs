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

/// Most bytes of the table, and of its index, that are read; those of a server have some four million.
const MAX_BYTES: u64 = 24 << 20;

/// How an index begins: its version, then how it writes the address of the table (four bytes, relative to their place), its
/// count (four bytes) and its rows (twice four bytes, relative to the index). GNU ld, gold, lld and mold write no other;
/// gimli takes any, and multiplies and subtracts what it finds unchecked.
const FORM: [u8; 4] = [1, 0x1b, 0x03, 0x3b];

/// Bytes of a row: where a function starts, and where the table has it.
const ROW: usize = 8;

/// A program's bytes by the link addresses that they are mapped at.
pub(super) trait Mapped {
    /// The segment whose bytes in the file hold all of `range`.
    fn segment(&self, range: &Range<u64>) -> Option<Segment>;

    /// `len` bytes from `at` bytes into the file on; the caller bounds `len`.
    fn bytes(&self, at: u64, len: u64) -> Result<Vec<u8>, TextError>;
}

/// The table and its index.
#[derive(Debug, Default)]
pub(super) struct Unwind {
    /// Link address of the index.
    index: u64,
    rows: Vec<u8>,
    /// Link address of the table.
    start: u64,
    table: Vec<u8>,
}

impl Unwind {
    /// Reads both; `header` are the link addresses of the index. Nothing when they make no sense or
    /// are too large, which proves nothing then.
    pub(super) fn read(text: &impl Mapped, header: Range<u64>) -> Result<Self, TextError> {
        let read = |range: Range<u64>| {
            let segment = text.segment(&range)?;
            let at = segment.offset.checked_add(range.start - segment.addr)?;
            Some(text.bytes(at, (range.end - range.start).min(MAX_BYTES)))
        };
        let index = header.start;
        let Some(header) = read(header).transpose()? else { return Ok(Self::default()) };
        let Some((start, rows)) = rows_of(index, &header) else { return Ok(Self::default()) };
        let end = text
            .segment(&(start..start.saturating_add(1)))
            .and_then(|segment| segment.addr.checked_add(segment.len));
        let table = end.and_then(|end| read(start..end)).transpose()?.unwrap_or_default();
        Ok(Self { index, rows: rows.to_vec(), start, table })
    }

    /// The range that holds `addr`.
    pub(super) fn function(&self, addr: LinkAddr) -> Option<Range<u64>> {
        let (rows, _) = self.rows.as_chunks::<ROW>();
        let starts = |row: &[u8; ROW]| near(self.index, row).is_none_or(|start| start <= addr.0);
        // Where the rows are in no order, the range that is found does not hold it.
        let row = rows.get(rows.partition_point(starts).checked_sub(1)?)?;
        let at = near(self.index, &row[4..])?.checked_sub(self.start)?;
        let at = EhFrameOffset(usize::try_from(at).ok()?);
        let frames = EhFrame::new(&self.table, LittleEndian);
        let (table, index) = (Some(LinkAddr(self.start)), Some(LinkAddr(self.index)));
        let bases = PointerBases { table, index, text: None }.addresses();
        let found = frames.fde_from_offset(&bases, at, EhFrame::cie_from_offset).ok()?;
        let range = found.initial_address()..found.end_address();
        range.contains(&addr.0).then_some(range)
    }
}

/// Link address of the table, and the rows of the index at `index`.
fn rows_of(index: u64, header: &[u8]) -> Option<(u64, &[u8])> {
    let rest = header.strip_prefix(&FORM)?;
    let (start, rest) = rest.split_first_chunk::<4>()?;
    let (count, rows) = rest.split_first_chunk::<4>()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?.saturating_mul(ROW);
    Some((near(index.checked_add(FORM.len() as u64)?, start)?, &rows[..rows.len().min(count)]))
}

/// The address that four bytes give relative to `base`.
fn near(base: u64, bytes: &[u8]) -> Option<u64> {
    let distance = i32::from_le_bytes(*bytes.first_chunk()?);
    base.checked_add_signed(distance.into())
}
