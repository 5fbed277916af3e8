//! Where the functions of a stripped program lie: the ranges of its unwind table.

use gimli::{CieOrFde, EhFrame, LittleEndian, UnwindSection as _};

use super::KinError;
use crate::eh_frame::PointerBases;
use crate::elf::Program;

/// Most ranges that are taken; a server has some fifty thousand.
const MAX_RANGES: usize = 1 << 20;

/// A function, or a part of one that the compiler moved away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CodeRange {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl CodeRange {
    pub(super) fn holds(&self, addr: u64) -> bool {
        (self.start..self.end).contains(&addr)
    }
}

/// All functions of a program, in the order of their addresses.
#[derive(Debug)]
pub(super) struct FunctionTable(Vec<CodeRange>);

impl FunctionTable {
    /// Reads them from `.eh_frame` (Linux Standard Base Core 5.0, 10.6); stripping leaves it.
    pub(super) fn of(program: &Program) -> Result<Self, KinError> {
        let section = program.section(".eh_frame")?.ok_or(KinError::NoUnwindTable)?;
        let bases = PointerBases::of(program).addresses();
        let table = EhFrame::new(&section, LittleEndian);
        let mut entries = table.entries(&bases);
        let mut extents = Vec::new();
        while let Some(entry) = entries.next().map_err(|_| KinError::NoUnwindTable)? {
            let CieOrFde::Fde(partial) = entry else { continue };
            let Ok(frame) = partial.parse(EhFrame::cie_from_offset) else { continue };
            let (start, end) = (frame.initial_address(), frame.end_address());
            if start < end && extents.len() < MAX_RANGES {
                extents.push(CodeRange { start, end });
            }
        }
        extents.sort_unstable();
        extents.dedup_by_key(|extent| extent.start);
        Ok(Self(extents))
    }

    pub(super) fn as_slice(&self) -> &[CodeRange] {
        &self.0
    }

    /// Number of the function that holds `addr`.
    pub(super) fn at(&self, addr: u64) -> Option<usize> {
        let after = self.0.partition_point(|extent| extent.start <= addr);
        let at = after.checked_sub(1)?;
        self.0[at].holds(addr).then_some(at)
    }
}
