//! Makes the pages of the set holes, and makes sure that they are.
//!
//! `UFFDIO_COPY` takes holes only, so a page that is present before QEMU listens would look like one
//! that QEMU has delivered. Punching is safe between the monitor's greeting and `migrate-incoming`.

use std::io;
use std::iter::Peekable;
use std::ops::Range;

use rustix::fs::{FallocateFlags, fallocate, fstat};

use super::install::BlockFile;
use crate::dest::refusal::RestoreRefusal;
use crate::guest::data;
use crate::set::{SetRun, SkipSet};

/// Punches every page of the set out of its block's file.
///
/// Also where `SEEK_DATA` sees no data: pages that fallocate has reserved are holes for it, and present
/// for userfaultfd. Only a file that has nothing allocated at all is left as it is.
pub(in crate::dest) fn punch(
    set: &SkipSet,
    blocks: &[BlockFile<'_>],
) -> Result<(), RestoreRefusal> {
    for_blocks(set, blocks, "punch holes into", |block, ranges| {
        if fstat(block.file)?.st_blocks == 0 {
            return Ok(None);
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        for (offset, bytes) in ranges {
            fallocate(block.file, flags, block.offset + offset, bytes)?;
        }
        Ok(None)
    })
}

/// Makes sure that no page of the set is present.
pub(in crate::dest) fn verify(
    set: &SkipSet,
    blocks: &[BlockFile<'_>],
) -> Result<(), RestoreRefusal> {
    for_blocks(set, blocks, "look for data in", |block, ranges| {
        let mut ranges = ranges.peekable();
        let mut from = block.offset;
        // Data and ranges both ascend, so each is looked at once.
        while let Some(Range { start, end }) = data(block.file, from)? {
            while ranges.next_if(|(offset, bytes)| block.offset + offset + bytes <= start).is_some()
            {
            }
            match ranges.peek() {
                None => return Ok(None),
                Some((offset, _)) if block.offset + offset < end => {
                    return Ok(Some(start.saturating_sub(block.offset).max(*offset)));
                }
                Some(_) => from = end,
            }
        }
        Ok(None)
    })
}

/// Runs `look` on each block with its ranges of the set: offset in the block and length in bytes,
/// ascending, none that touch. A page that it gives is present. There may be as many ranges as pages, so
/// they are never all in memory.
fn for_blocks(
    set: &SkipSet,
    blocks: &[BlockFile<'_>],
    doing: &'static str,
    look: impl Fn(&BlockFile<'_>, &mut dyn Iterator<Item = (u64, u64)>) -> io::Result<Option<u64>>,
) -> Result<(), RestoreRefusal> {
    let mut runs = set.in_ram_order().map(|(_, run)| run).peekable();
    while let Some(run) = runs.peek() {
        let number = run.block;
        let mut of_block =
            std::iter::from_fn(|| runs.next_if(|run| run.block == number)).peekable();
        let index = usize::from(number);
        if let (Some(block), Some(named)) = (blocks.get(index), set.blocks().get(index)) {
            let name = || named.name.clone();
            match look(block, &mut std::iter::from_fn(|| range(&mut of_block))) {
                Ok(None) => {}
                Ok(Some(offset)) => return Err(RestoreRefusal::Present { name: name(), offset }),
                Err(source) => return Err(RestoreRefusal::Holes { doing, name: name(), source }),
            }
        }
        // What was not looked at.
        of_block.for_each(drop);
    }
    Ok(())
}

/// The next range of runs that go on from each other.
fn range(runs: &mut Peekable<impl Iterator<Item = SetRun>>) -> Option<(u64, u64)> {
    let first = runs.next()?;
    let mut end = first.offset + first.bytes();
    while let Some(run) = runs.next_if(|run| run.offset == end) {
        end += run.bytes();
    }
    Some((first.offset, end - first.offset))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    use page_number::PAGE_BYTES;
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

    use super::super::install::{InstallOutcome, Target};
    use super::*;
    use crate::set::Block;

    const PAGES: u64 = 64;

    fn ram() -> File {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create("ram", flags).unwrap());
        file.set_len(PAGES * PAGE_BYTES).unwrap();
        // As QEMU seals its memory.
        fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL).unwrap();
        file
    }

    fn set(runs: &[(u64, u32)]) -> SkipSet {
        let runs = runs.iter().enumerate().map(|(n, (page, pages))| SetRun {
            block: 0,
            device: 0,
            pages: *pages,
            offset: page * PAGE_BYTES,
            place: (n as u64) << 20,
        });
        let block = Block { name: "mem0".into(), length: PAGES * PAGE_BYTES };
        SkipSet::new(vec![block], vec!["serial:a".into()], runs.collect()).unwrap()
    }

    fn block(file: &File) -> BlockFile<'_> {
        BlockFile { file, offset: 0, length: PAGES * PAGE_BYTES }
    }

    #[test]
    fn what_is_present_is_punched_and_nothing_else() {
        let file = ram();
        let set = set(&[(10, 4), (2, 1), (30, 8)]);
        let blocks = [block(&file)];
        verify(&set, &blocks).unwrap();
        for page in [2, 3, 9, 12, 13, 14, 37, 38] {
            file.write_all_at(&[1; 4096], page * PAGE_BYTES).unwrap();
        }
        let RestoreRefusal::Present { offset, .. } = verify(&set, &blocks).unwrap_err() else {
            panic!()
        };
        assert_eq!(offset, 2 * PAGE_BYTES);
        punch(&set, &blocks).unwrap();
        verify(&set, &blocks).unwrap();
        let mut byte = [0];
        for (page, left) in [(2, 0), (3, 1), (9, 1), (12, 0), (13, 0), (14, 1), (37, 0), (38, 1)] {
            file.read_exact_at(&mut byte, page * PAGE_BYTES).unwrap();
            assert_eq!(byte[0], left, "page {page}");
        }
    }

    /// The trap: fallocated pages are no data for lseek and present for userfaultfd.
    #[test]
    fn reserved_pages_are_punched_too() {
        let file = ram();
        let set = set(&[(4, 8)]);
        let blocks = [block(&file)];
        fallocate(&file, FallocateFlags::empty(), 0, PAGES * PAGE_BYTES).unwrap();
        punch(&set, &blocks).unwrap();
        let target = Target::new(&blocks).unwrap();
        target.install(0, 4 * PAGE_BYTES, &[7; 8 * 4096], |installed, _| {
            assert_eq!(installed, InstallOutcome::Installed);
        });
        target.install(0, 3 * PAGE_BYTES, &[7; 4096], |installed, _| {
            assert_eq!(installed, InstallOutcome::AlreadyPresent, "the trap is there");
        });
    }
}
