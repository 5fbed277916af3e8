//! Link addresses of a program and where their bytes lie in the file.

use object::LittleEndian;
use object::elf::{PF_W, PF_X, PT_LOAD};
use object::read::elf::ProgramHeader;
use object::{Object, ObjectSection};

use super::Program;
use crate::addr::{FileOff, LinkAddr};

impl Program {
    /// Where the byte at `addr` lies in the file: `addr - p_vaddr + p_offset` of the `PT_LOAD` that
    /// holds it. None when no segment does, or only its zero-filled tail (`.bss`).
    #[must_use]
    pub fn file_offset(&self, addr: LinkAddr) -> Option<FileOff> {
        self.place(addr).map(|(offset, _)| offset)
    }

    /// The same, with the bytes that are left in the segment.
    fn place(&self, addr: LinkAddr) -> Option<(FileOff, u64)> {
        let elf = self.elf().ok()?;
        elf.elf_program_headers().iter().find_map(|segment| {
            if segment.p_type(LittleEndian) != PT_LOAD {
                return None;
            }
            let inside = addr.0.checked_sub(segment.p_vaddr(LittleEndian))?;
            if inside >= segment.p_filesz(LittleEndian) {
                return None;
            }
            let offset = segment.p_offset(LittleEndian).checked_add(inside)?;
            let rest = segment.p_filesz(LittleEndian) - inside;
            (offset < self.bytes().len() as u64).then_some((FileOff(offset), rest))
        })
    }

    /// True when `addr` lies in a segment that is mapped executable.
    #[must_use]
    pub fn is_code(&self, addr: LinkAddr) -> bool {
        self.is_in_segment(addr, |flags| flags & PF_X.0 != 0)
    }

    /// True when `addr` lies in a segment that the program may only read, and is no code.
    #[must_use]
    pub fn is_read_only(&self, addr: LinkAddr) -> bool {
        self.is_in_segment(addr, |flags| flags & (PF_X.0 | PF_W.0) == 0)
    }

    /// Whether the file has bytes for `addr` in a loaded segment with such flags.
    fn is_in_segment(&self, addr: LinkAddr, has: impl Fn(u32) -> bool) -> bool {
        self.elf().is_ok_and(|elf| {
            elf.elf_program_headers().iter().any(|segment| {
                segment.p_type(LittleEndian) == PT_LOAD
                    && has(segment.p_flags(LittleEndian).0)
                    && addr
                        .0
                        .checked_sub(segment.p_vaddr(LittleEndian))
                        .is_some_and(|inside| inside < segment.p_filesz(LittleEndian))
            })
        })
    }

    /// Where a section is loaded.
    #[must_use]
    pub fn section_address(&self, name: &str) -> Option<LinkAddr> {
        let elf = self.elf().ok()?;
        elf.section_by_name(name).map(|section| LinkAddr(section.address()))
    }

    /// At most `len` bytes of the file's image from `addr` on; shorter at the end of the segment, empty
    /// where the file has no bytes.
    #[must_use]
    pub fn bytes_at(&self, addr: LinkAddr, len: usize) -> &[u8] {
        let Some((FileOff(start), rest)) = self.place(addr) else { return &[] };
        let Ok(start) = usize::try_from(start) else { return &[] };
        let bytes = self.bytes().get(start..).unwrap_or_default();
        let len = usize::try_from(rest).map_or(len, |rest| len.min(rest));
        bytes.get(..len).unwrap_or(bytes)
    }
}
