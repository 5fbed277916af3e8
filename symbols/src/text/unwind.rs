//! Where functions start, by the table that C++ needs to unwind the stack.
//!
//! It stands in every C++ program, stripped ones too: `.eh_frame` has a range of addresses for each
//! function (and for each part of one that the compiler moved away), `.eh_frame_hdr` a sorted index
//! (Linux Standard Base Core 5.0, 10.6).

use std::ops::Range;

use gimli::{BaseAddresses, EhFrame, EhFrameHdr, LittleEndian, Pointer, UnwindSection as _};

use super::error::TextError;
use super::image::ProgramText;
use crate::addr::LinkAddr;

/// Most bytes of the table, and of its index, that are read; those of a server have some four million.
const MAX_BYTES: u64 = 24 << 20;

/// The table and its index.
#[derive(Debug, Default)]
pub(super) struct Unwind {
    header: Vec<u8>,
    table: Vec<u8>,
    bases: BaseAddresses,
}

impl Unwind {
    /// Reads both; `header` are the link addresses of the index. Nothing when they make no sense or
    /// are too large, which proves nothing then.
    pub(super) fn read(text: &ProgramText, header: Range<u64>) -> Result<Self, TextError> {
        let read = |range: Range<u64>| {
            let segment = text.segment(&range)?;
            let at = segment.offset.checked_add(range.start - segment.addr)?;
            Some(text.bytes(at, (range.end - range.start).min(MAX_BYTES)))
        };
        let bases = BaseAddresses::default().set_eh_frame_hdr(header.start);
        let Some(header) = read(header).transpose()? else { return Ok(Self::default()) };
        let table = EhFrameHdr::new(&header, LittleEndian).parse(&bases, 8);
        let Some(Pointer::Direct(start)) = table.ok().map(|table| table.eh_frame_ptr()) else {
            return Ok(Self::default());
        };
        let end = text
            .segment(&(start..start.saturating_add(1)))
            .and_then(|segment| segment.addr.checked_add(segment.len));
        let table = end.and_then(|end| read(start..end)).transpose()?.unwrap_or_default();
        Ok(Self { header, table, bases: bases.set_eh_frame(start) })
    }

    /// The range that holds `addr`.
    pub(super) fn function(&self, addr: LinkAddr) -> Option<Range<u64>> {
        let header = EhFrameHdr::new(&self.header, LittleEndian).parse(&self.bases, 8).ok()?;
        let frames = EhFrame::new(&self.table, LittleEndian);
        let found = header
            .table()?
            .fde_for_address(&frames, &self.bases, addr.0, EhFrame::cie_from_offset)
            .ok()?;
        let range = found.initial_address()..found.end_address();
        range.contains(&addr.0).then_some(range)
    }
}
