//! Canonical frame addresses from `.eh_frame`.

use gimli::{BaseAddresses, CfaRule, EhFrame, LittleEndian, UnwindContext, UnwindSection};

use super::location::Base;
use crate::addr::LinkAddr;
use crate::eh_frame::PointerBases;
use crate::elf::{Program, Section};

/// The unwind table of the program itself (debug files have none).
#[derive(Debug)]
pub(crate) struct UnwindTable<'p> {
    table: Section<'p>,
    addresses: BaseAddresses,
}

impl<'p> UnwindTable<'p> {
    /// Finds the table; nothing is read yet. A program without one has no answers.
    pub(crate) fn new(program: &'p Program) -> Self {
        let table = program.section(".eh_frame").ok().flatten().unwrap_or_default();
        Self { table, addresses: PointerBases::of(program).addresses() }
    }

    /// The canonical frame address when the instruction at `at` is about to run.
    pub(crate) fn cfa(&self, at: LinkAddr) -> Option<Base> {
        let frames = EhFrame::new(&self.table, LittleEndian);
        let mut context = UnwindContext::new();
        let row = frames
            .unwind_info_for_address(&self.addresses, &mut context, at.0, EhFrame::cie_from_offset)
            .ok()?;
        match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => {
                Some(Base { register: register.0, offset: *offset })
            }
            CfaRule::Expression(_) => None,
        }
    }
}
