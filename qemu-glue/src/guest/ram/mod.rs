//! The RAM of a VM, in its memory files.
//!
//! They are read with pread(2) and never mapped here: QEMU can make a file of its own shorter at any time, and who looks
//! at a mapping beyond the end of its file is killed (SIGBUS). How large they are is QEMU's word as well: more than the
//! host's memory is not believed.

mod host_memory;
mod mapping;
mod mtree;
mod ramblock;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Instant;

use page_number::{Gpa, PAGE_BYTES};
use tokio::task::spawn_blocking;

use self::mapping::{Access, AddressRange};
use super::deadline::{self, GUEST_LIMIT};
use super::{GuestError, LOWEST};
use crate::qmp::Qmp;

/// A RAM block that lies in a file which QEMU maps shared.
#[derive(Debug)]
pub struct RamBlock {
    /// `RAMBlock.idstr`.
    pub name: String,
    /// Used length in bytes.
    pub length: u64,
    /// Bytes of a page of the memory backend; 4096 unless it has huge pages.
    pub page_bytes: u64,
    /// Where QEMU's process has its first byte.
    pub host_address: u64,
    /// The file, opened for reading, or for writing too ([`GuestRam::writable`]).
    pub file: File,
    /// Place of the block's first byte in the file, in bytes.
    pub file_offset: u64,
}

/// Guest-physical addresses of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    start: u64,
    bytes: u64,
    block: usize,
    offset: u64,
}

/// A piece of RAM as block and offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clipped {
    /// Index in [`GuestRam::blocks`].
    pub block: usize,
    /// Offset in the block, in bytes.
    pub offset: u64,
    /// Bytes from the start of the requested range to this piece.
    pub ahead: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// The shared RAM of a VM and where it stands in guest-physical memory.
#[derive(Debug)]
pub struct GuestRam {
    blocks: Vec<RamBlock>,
    /// By address; they do not overlap.
    windows: Vec<Window>,
    /// RAM of the VM in bytes, that which is not shared included.
    total_bytes: u64,
}

impl GuestRam {
    /// Finds, for reading only, the RAM of the QEMU with process id `pid` behind `qmp`.
    ///
    /// # Errors
    /// [`GuestError`] when no RAM is shared, it is more than the host's memory, its files cannot be opened, or QEMU's
    /// answers take longer than 60 s.
    pub async fn of(qmp: &Qmp, pid: u32) -> Result<Self, GuestError> {
        deadline::within(GUEST_LIMIT, "RAM", Self::open(qmp, pid, Access::Read)).await
    }

    /// [`Self::of`] with another limit.
    #[cfg(test)]
    pub(super) async fn within(
        limit: std::time::Duration,
        qmp: &Qmp,
        pid: u32,
    ) -> Result<Self, GuestError> {
        deadline::within(limit, "RAM", Self::open(qmp, pid, Access::Read)).await
    }

    /// [`Self::of`] with files opened for writing, for a destination.
    ///
    /// # Errors
    /// As for [`Self::of`].
    pub async fn writable(qmp: &Qmp, pid: u32) -> Result<Self, GuestError> {
        deadline::within(GUEST_LIMIT, "RAM", Self::open(qmp, pid, Access::ReadWrite)).await
    }

    async fn open(qmp: &Qmp, pid: u32, access: Access) -> Result<Self, GuestError> {
        let listed = ramblock::parse(&qmp.hmp("info ramblock").await?);
        let ranges = mtree::parse(&qmp.hmp("info mtree -f").await?);
        let nothing = |command, what| GuestError::Nothing { command, what };
        if listed.is_empty() {
            return Err(nothing("info ramblock", "RAM block"));
        }
        if ranges.is_empty() {
            return Err(nothing("info mtree -f", "RAM"));
        }
        let total_bytes = ranges.iter().fold(0_u64, |sum, range| sum.saturating_add(range.bytes));
        host_memory::holds(total_bytes)?;
        let mut named_blocks: Vec<(&ramblock::BlockLine, Option<AddressRange>)> = Vec::new();
        let mut windows = Vec::new();
        for range in &ranges {
            let Some(line) = named(&listed, &range.region) else { continue };
            let end = range.offset + range.bytes;
            if range.start + range.bytes <= LOWEST.0 || end > line.used {
                continue;
            }
            let known = named_blocks.iter().position(|(block, _)| block.name == line.name);
            let block = match known {
                Some(block) => block,
                None => {
                    // The monitor names the host address of an address of RAM in every version,
                    // `info ramblock` from 8.2 on only.
                    let text = qmp.hmp(&format!("gpa2hva {:#x}", range.start)).await?;
                    let here = host_address(&text).and_then(|at| at.checked_sub(range.offset));
                    let piece = here.map(|address| AddressRange { address, bytes: line.used });
                    named_blocks.push((line, piece));
                    named_blocks.len() - 1
                }
            };
            let (start, bytes, offset) = (range.start, range.bytes, range.offset);
            windows.push(Window { start, bytes, block, offset });
        }
        let used = |sum: u64, (line, _): &(&ramblock::BlockLine, _)| sum.saturating_add(line.used);
        host_memory::holds(named_blocks.iter().fold(0, used))?;
        let pieces: Vec<AddressRange> =
            named_blocks.iter().filter_map(|(_, piece)| *piece).collect();
        // The kernel's answers wait for locks of QEMU's memory, and there may be many.
        let until = Instant::now() + GUEST_LIMIT;
        let files = spawn_blocking(move || mapping::files(pid, &pieces, access, until));
        let mut files = files.await.map_err(GuestError::Fell)??.into_iter();
        let mut ram = Self { blocks: Vec::new(), windows: Vec::new(), total_bytes };
        // By number of the named block: that of the shared one.
        let mut shared = Vec::with_capacity(named_blocks.len());
        for (line, piece) in named_blocks {
            let file = piece.and_then(|piece| Some((piece, files.next()??)));
            shared.push(file.is_some().then_some(ram.blocks.len()));
            if let Some((piece, file)) = file {
                ram.blocks.push(block(line, piece, file)?);
            }
        }
        let of_shared = |window: Window| {
            Some(Window { block: shared.get(window.block).copied().flatten()?, ..window })
        };
        ram.windows = windows.into_iter().filter_map(of_shared).collect();
        if ram.blocks.is_empty() { Err(GuestError::NotShared) } else { Ok(ram) }
    }

    /// The blocks.
    #[must_use]
    pub fn blocks(&self) -> &[RamBlock] {
        &self.blocks
    }

    /// RAM of the VM in bytes, as the guest has it: also what is not shared, or below 1 MiB.
    #[must_use]
    pub const fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Pages of RAM from 1 MiB on.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.windows.iter().map(|window| window.bytes / PAGE_BYTES).sum()
    }

    /// Block (index in [`Self::blocks`]) and offset of `bytes` bytes at `gpa`; `None` unless all of
    /// them are RAM of one block from 1 MiB on, one after the other.
    #[must_use]
    pub fn resolve(&self, gpa: Gpa, bytes: u64) -> Option<(usize, u64)> {
        let mut pieces = self.clip(gpa, bytes);
        let piece = pieces.next().filter(|piece| piece.bytes == bytes)?;
        Some((piece.block, piece.offset))
    }

    /// The parts of `bytes` bytes at `gpa` that are RAM from 1 MiB on, in order. At most one part a
    /// window, however much is requested.
    pub fn clip(&self, gpa: Gpa, bytes: u64) -> impl Iterator<Item = Clipped> + '_ {
        let end = gpa.0.saturating_add(bytes);
        let first = self.windows.partition_point(|window| window.start + window.bytes <= gpa.0);
        self.windows[first..].iter().take_while(move |window| window.start < end).filter_map(
            move |window| {
                let from = gpa.0.max(window.start).max(LOWEST.0);
                let to = end.min(window.start + window.bytes);
                let bytes = to.checked_sub(from).filter(|bytes| *bytes > 0)?;
                let offset = window.offset + (from - window.start);
                Some(Clipped { block: window.block, offset, ahead: from - gpa.0, bytes })
            },
        )
    }

    /// Copies guest RAM at `gpa` into `into`.
    ///
    /// # Errors
    /// [`GuestError::NotRam`] unless [`Self::resolve`] knows the place, and it can be read.
    pub fn read(&self, gpa: Gpa, into: &mut [u8]) -> Result<(), GuestError> {
        let bytes = into.len() as u64;
        let (block, offset) = self.resolve(gpa, bytes).ok_or(GuestError::NotRam { gpa, bytes })?;
        self.copy(block, offset, into).ok_or(GuestError::NotRam { gpa, bytes })
    }

    /// Copies what block `block` has at `offset`; `None` when that is not inside the block, or QEMU has made its file
    /// shorter. The guest may write meanwhile: what is copied is some mix of before and after. A hole of the file stays
    /// one.
    #[must_use]
    pub fn copy(&self, block: usize, offset: u64, into: &mut [u8]) -> Option<()> {
        let block = self.blocks.get(block)?;
        let end = offset.checked_add(into.len() as u64)?;
        if end > block.length {
            return None;
        }
        block.file.read_exact_at(into, block.file_offset + offset).ok()
    }

    /// A RAM of blocks in files of ours, at guest-physical 0 and on, for tests.
    #[cfg(test)]
    pub(crate) fn of_files(files: Vec<(String, File, u64)>) -> Self {
        let total_bytes = files.iter().map(|(_, _, length)| length).sum();
        let mut ram = Self { blocks: Vec::new(), windows: Vec::new(), total_bytes };
        let mut start = 0;
        for (name, file, length) in files {
            let block = ram.blocks.len();
            ram.windows.push(Window { start, bytes: length, block, offset: 0 });
            start += length;
            let (page_bytes, host_address, file_offset) = (PAGE_BYTES, 0, 0);
            ram.blocks.push(RamBlock { name, length, page_bytes, host_address, file, file_offset });
        }
        ram
    }
}

/// A block that lies in a file.
fn block(
    line: &ramblock::BlockLine,
    piece: AddressRange,
    file: std::io::Result<mapping::FilePosition>,
) -> Result<RamBlock, GuestError> {
    let name = || line.name.clone();
    let failed = |doing| move |error| GuestError::File { doing, block: line.name.clone(), error };
    let (file, file_offset) = file.map_err(failed("open"))?;
    let length = file.metadata().map_err(failed("measure"))?.len();
    if file_offset.checked_add(line.used).is_none_or(|end| end > length) {
        return Err(GuestError::Elsewhere { block: name() });
    }
    Ok(RamBlock {
        name: name(),
        length: line.used,
        page_bytes: line.page_bytes,
        host_address: piece.address,
        file,
        file_offset,
    })
}

/// The block of a memory region: their names are equal, or the block's has the owner's path before it
/// (`/objects/mem0`, `0000:00:02.0/vga.vram`). A name that fits several blocks identifies none.
fn named<'a>(blocks: &'a [ramblock::BlockLine], region: &str) -> Option<&'a ramblock::BlockLine> {
    if let Some(block) = blocks.iter().find(|block| block.name == region) {
        return Some(block);
    }
    let tail = |block: &&ramblock::BlockLine| {
        block.name.strip_suffix(region).is_some_and(|owner| owner.ends_with('/'))
    };
    let mut fitting = blocks.iter().filter(tail);
    fitting.next().filter(|_| fitting.next().is_none())
}

/// `Host virtual address for 0x100000 (mem0) is 0x7f5f5ff00000`
fn host_address(text: &str) -> Option<u64> {
    let (_, address) = text.trim_end().rsplit_once(" is 0x")?;
    u64::from_str_radix(address, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn ram() -> GuestRam {
        let mut file = tempfile::tempfile().unwrap();
        for page in 0..1024_u32 {
            file.write_all(&[page.to_le_bytes()[0]; 4096]).unwrap();
        }
        GuestRam::of_files(vec![("mem0".into(), file, 4 << 20)])
    }

    #[test]
    fn addresses_are_clipped_to_ram_from_one_mebibyte() {
        let ram = ram();
        assert_eq!(ram.resolve(Gpa(2 << 20), 4096), Some((0, 2 << 20)));
        assert_eq!(ram.resolve(Gpa(4096), 4096), None);
        assert_eq!(ram.resolve(Gpa((4 << 20) - 4096), 8192), None);
        assert_eq!(ram.resolve(Gpa(u64::MAX), u64::MAX), None);
        let pieces: Vec<_> = ram.clip(Gpa(0), u64::MAX).collect();
        assert_eq!(pieces, [Clipped { block: 0, offset: 1 << 20, ahead: 1 << 20, bytes: 3 << 20 }]);
    }

    #[test]
    fn bytes_are_those_of_the_address() {
        let ram = ram();
        let mut page = [0; 4096];
        ram.read(Gpa(300 * 4096), &mut page).unwrap();
        assert_eq!(page, [300_u32.to_le_bytes()[0]; 4096]);
        assert!(ram.read(Gpa(1024 * 4096), &mut page).is_err());
        assert!(ram.copy(0, u64::MAX, &mut page).is_none());
        assert!(ram.copy(1, 0, &mut page).is_none());
        let mut pages = [0; 8192];
        ram.copy(0, 300 * 4096, &mut pages).unwrap();
        assert_eq!((pages[0], pages[8191]), (300_u32.to_le_bytes()[0], 301_u32.to_le_bytes()[0]));
        for (block, offset) in [(0, (4 << 20) - 4096), (0, u64::MAX), (1, 0)] {
            assert!(ram.copy(block, offset, &mut pages).is_none());
        }
    }

    /// Whoever looked at a mapping of it would be killed.
    #[test]
    fn a_file_that_is_made_shorter_is_an_error() {
        let ram = ram();
        ram.blocks[0].file.set_len(1 << 20).unwrap();
        let mut page = [0; 4096];
        assert!(ram.read(Gpa(300 * 4096), &mut page).is_err());
        ram.blocks[0].file.set_len(0).unwrap();
        assert!(ram.read(Gpa(1 << 20), &mut page).is_err());
    }

    #[test]
    fn a_region_finds_its_block() {
        let line =
            |name: &str| ramblock::BlockLine { name: name.into(), page_bytes: 4096, used: 0 };
        let blocks = [line("/objects/mem0"), line("pc.bios"), line("a/rom"), line("b/rom")];
        assert_eq!(named(&blocks, "mem0").unwrap().name, "/objects/mem0");
        assert!(named(&blocks, "em0").is_none());
        assert!(named(&blocks, "rom").is_none());
        let text = "Host virtual address for 0x100000 (mem0) is 0x7f5f5ff00000\r\n";
        assert_eq!(host_address(text), Some(0x7f5f_5ff0_0000));
    }
}
