//! Installs verified pages in the guest's RAM, only where nothing has arrived.
//!
//! The destination's QEMU and this process map the same file. `UFFDIO_COPY` on our mapping puts a page
//! into the file's page cache, or fails with `EEXIST` when one is there (Linux `mm/shmem.c`,
//! `shmem_mfill_atomic_pte`): QEMU has delivered it, and QEMU's is never older. So the newer copy always
//! wins, whichever comes first (invariant I3). Our mapping is never read or written otherwise.

#![expect(unsafe_code, reason = "pages are written by the address of a mapping")]

use std::fs::File;
use std::io;

use memmap2::{MmapOptions, MmapRaw};
use rustix::io::Errno;

use super::uffd::Userfaultfd;
pub(in crate::dest) use crate::page_hash::PAGE;

/// How often a copy is tried again while the mapping changes.
const TRIES: u32 = 1000;

/// The shared file of a RAM block.
#[derive(Clone, Copy, Debug)]
pub struct BlockFile<'a> {
    /// Open for reading and writing.
    pub file: &'a File,
    /// Where the block begins in it, in bytes; a multiple of a page.
    pub offset: u64,
    /// Length of the block in bytes.
    pub length: u64,
}

/// What became of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallOutcome {
    /// They are there, by us.
    Installed,
    /// QEMU had delivered them before.
    AlreadyPresent,
    /// They are not there.
    Failed(Errno),
}

/// The guest's RAM, ready to take pages.
#[derive(Debug)]
pub struct Target {
    // Before the mappings, so that it is closed before they go.
    uffd: Userfaultfd,
    blocks: Vec<MmapRaw>,
}

impl Target {
    /// Maps the blocks and registers them.
    ///
    /// # Errors
    /// The step that failed, and why.
    pub fn new(blocks: &[BlockFile<'_>]) -> Result<Self, (&'static str, io::Error)> {
        let uffd = Userfaultfd::open().map_err(|error| ("open a userfaultfd", error))?;
        let mut mapped = Vec::with_capacity(blocks.len());
        for block in blocks {
            let map = map(block).map_err(|error| ("map the guest's RAM", error))?;
            uffd.register(map.as_ptr() as usize, map.len())
                .map_err(|error| ("register the guest's RAM with userfaultfd", error))?;
            mapped.push(map);
        }
        Ok(Self { uffd, blocks: mapped })
    }

    /// Installs the pages `bytes` at `offset` of block `block` (an index of the blocks that the target
    /// was made of), and calls `each` with the outcome, in order: what it is, and of how many pages.
    pub fn install(
        &self,
        block: u16,
        offset: u64,
        bytes: &[u8],
        mut each: impl FnMut(InstallOutcome, u32),
    ) {
        let pages = u32::try_from(bytes.len() / PAGE).unwrap_or(u32::MAX);
        let Some(to) = self.address(block, offset, bytes.len()) else {
            return each(InstallOutcome::Failed(Errno::INVAL), pages);
        };
        let (mut done, mut tries) = (0, 0);
        while done < bytes.len() {
            // SAFETY: the range lies in a registered mapping (`address`), to which no reference is ever
            // made.
            let (installed, length) = match unsafe { self.uffd.copy(to + done, &bytes[done..]) } {
                Ok(copied) => (InstallOutcome::Installed, copied),
                Err(Errno::EXIST) => (InstallOutcome::AlreadyPresent, PAGE),
                // The mapping is changing (a fork or munmap of this process), or a page was swapped.
                Err(Errno::AGAIN | Errno::INTR) if tries < TRIES => {
                    tries += 1;
                    std::thread::yield_now();
                    continue;
                }
                Err(error) => (InstallOutcome::Failed(error), bytes.len() - done),
            };
            each(installed, u32::try_from(length / PAGE).unwrap_or(u32::MAX));
            done += length;
            tries = 0;
        }
    }

    /// Address of a piece of a block; `None` unless it is whole pages inside the block.
    fn address(&self, block: u16, offset: u64, length: usize) -> Option<usize> {
        let map = self.blocks.get(usize::from(block))?;
        let offset = usize::try_from(offset).ok()?;
        let inside = offset.checked_add(length)? <= map.len();
        let whole = offset.is_multiple_of(PAGE) && length.is_multiple_of(PAGE);
        (inside && whole).then(|| map.as_ptr() as usize + offset)
    }
}

fn map(block: &BlockFile<'_>) -> io::Result<MmapRaw> {
    let length = usize::try_from(block.length).map_err(io::Error::other)?;
    let end = block.offset.checked_add(block.length).ok_or(io::ErrorKind::InvalidInput)?;
    if end > block.file.metadata()?.len() || !length.is_multiple_of(PAGE) || length == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    MmapOptions::new().offset(block.offset).len(length).map_raw(block.file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use page_number::PAGE_BYTES;
    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    fn ram(pages: u64) -> File {
        let file = File::from(memfd_create("ram", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(pages * PAGE_BYTES).unwrap();
        file
    }

    fn target(file: &File, pages: u64) -> Target {
        Target::new(&[BlockFile { file, offset: 0, length: pages * PAGE_BYTES }]).unwrap()
    }

    fn page(file: &File, number: u64) -> [u8; PAGE] {
        let mut bytes = [0; PAGE];
        file.read_exact_at(&mut bytes, number * PAGE_BYTES).unwrap();
        bytes
    }

    #[test]
    fn what_has_arrived_is_kept_and_the_rest_is_installed() {
        let file = ram(8);
        let target = target(&file, 8);
        // As QEMU would: two pages, and one that is all zeros.
        file.write_all_at(&[7; PAGE], 2 * PAGE_BYTES).unwrap();
        file.write_all_at(&[0; PAGE], 3 * PAGE_BYTES).unwrap();
        let mut seen = Vec::new();
        target.install(0, PAGE_BYTES, &[9; 4 * PAGE], |installed, pages| {
            seen.push((installed, pages))
        });
        use InstallOutcome::{AlreadyPresent, Installed};
        assert_eq!(
            seen,
            [(Installed, 1), (AlreadyPresent, 1), (AlreadyPresent, 1), (Installed, 1)]
        );
        let first_bytes: Vec<u8> = (0..8).map(|number| page(&file, number)[17]).collect();
        assert_eq!(first_bytes, [0, 9, 7, 0, 9, 0, 0, 0]);
        // And what QEMU delivers later overwrites ours.
        file.write_all_at(&[5; PAGE], PAGE_BYTES).unwrap();
        assert_eq!(page(&file, 1), [5; PAGE]);
    }

    #[test]
    fn a_second_block_begins_where_its_file_says() {
        let (one, other) = (ram(4), ram(8));
        let blocks = [
            BlockFile { file: &one, offset: 0, length: 4 * PAGE_BYTES },
            BlockFile { file: &other, offset: 2 * PAGE_BYTES, length: 6 * PAGE_BYTES },
        ];
        let target = Target::new(&blocks).unwrap();
        target.install(1, 3 * PAGE_BYTES, &[4; PAGE], |installed, _| {
            assert_eq!(installed, InstallOutcome::Installed)
        });
        assert_eq!(page(&other, 5), [4; PAGE]);
    }

    #[test]
    fn nothing_is_written_outside_of_blocks() {
        let file = ram(4);
        let target = target(&file, 4);
        let places = [(0, 4), (0, 3), (1, 0), (0, u64::MAX / PAGE_BYTES)];
        for (block, number) in places {
            let mut seen = Vec::new();
            let bytes = [1; 2 * PAGE];
            let offset = number * PAGE_BYTES;
            target.install(block, offset, &bytes, |installed, pages| seen.push((installed, pages)));
            assert_eq!(
                seen,
                [(InstallOutcome::Failed(Errno::INVAL), 2)],
                "block {block} page {number}"
            );
        }
        assert_eq!(page(&file, 3), [0; PAGE]);
    }

    #[test]
    fn a_file_that_is_no_shared_memory_is_refused() {
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.set_len(PAGE_BYTES).unwrap();
        let block = BlockFile { file: &file, offset: 0, length: PAGE_BYTES };
        let (step, _) = Target::new(&[block]).unwrap_err();
        assert_eq!(step, "register the guest's RAM with userfaultfd");
        let short = BlockFile { file: &file, offset: 0, length: 2 * PAGE_BYTES };
        assert_eq!(Target::new(&[short]).unwrap_err().0, "map the guest's RAM");
    }
}
