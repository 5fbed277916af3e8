//! What pointers of an unwind table are relative to (`.eh_frame`; Linux Standard Base Core 5.0, 10.6).

use gimli::BaseAddresses;

use crate::addr::LinkAddr;
use crate::elf::Program;

/// Link addresses of the sections, those that are known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PointerBases {
    /// Of the table, `.eh_frame`.
    pub(crate) table: Option<LinkAddr>,
    /// Of its index, `.eh_frame_hdr`.
    pub(crate) index: Option<LinkAddr>,
    /// Of `.text`.
    pub(crate) text: Option<LinkAddr>,
}

impl PointerBases {
    /// Those that read a program's table from its start: the index is not needed for that.
    pub(crate) fn of(program: &Program) -> Self {
        let table = program.section_address(".eh_frame");
        Self { table, index: None, text: program.section_address(".text") }
    }

    /// As gimli takes them.
    pub(crate) fn addresses(self) -> BaseAddresses {
        let mut addresses = BaseAddresses::default();
        if let Some(LinkAddr(table)) = self.table {
            addresses = addresses.set_eh_frame(table);
        }
        if let Some(LinkAddr(index)) = self.index {
            addresses = addresses.set_eh_frame_hdr(index);
        }
        if let Some(LinkAddr(text)) = self.text {
            addresses = addresses.set_text(text);
        }
        addresses
    }
}
