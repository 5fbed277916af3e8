//! The residency table as the agent sees it: the probes' table in kernel memory, and under it what
//! the agent's own scan said of blocks that had no event since.
//!
//! The agent never writes the kernel's table. A scan's finding is laid *under* the entry together with
//! the entry's sequence number at that time; the next event of the block has another number and
//! wins. So neither an event nor a repair can be lost to the other.
#![expect(unsafe_code, reason = "maps kernel memory that eBPF programs write")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};
use probe_abi::{Entry, STATE_BITS, state};

/// The table in kernel memory, mapped for reading.
pub struct Table {
    map: MmapRaw,
    blocks: u32,
}

impl Table {
    /// Maps the table behind `fd`, which has `blocks` entries.
    ///
    /// # Errors
    /// When the kernel refuses the mapping.
    pub fn map(fd: BorrowedFd<'_>, blocks: u32) -> io::Result<Self> {
        let len = blocks.max(1) as usize * size_of::<Entry>();
        let map = MmapOptions::new().len(len).map_raw_read_only(fd.as_raw_fd())?;
        Ok(Self { map, blocks })
    }

    /// Number of blocks.
    #[must_use]
    pub const fn blocks(&self) -> u32 {
        self.blocks
    }

    fn fields(&self, block: u32) -> Option<&[AtomicU32; 4]> {
        if block >= self.blocks {
            return None;
        }
        let base = self.map.as_ptr().cast::<[AtomicU32; 4]>();
        // SAFETY: `block` is inside the mapping, which lives as long as `self`; the entry is 16 bytes
        // of integers, aligned to 16 in a page-aligned mapping, and only ever accessed atomically here.
        Some(unsafe { &*base.add(block as usize) })
    }

    /// State and sequence number of a block: one load.
    #[must_use]
    pub fn word(&self, block: u32) -> u32 {
        self.fields(block).map_or(0, |fields| fields[3].load(Ordering::Acquire))
    }

    /// One entry, whole: read again while a probe is writing it.
    #[must_use]
    pub fn read(&self, block: u32) -> Entry {
        let Some(fields) = self.fields(block) else { return Entry::default() };
        loop {
            let word = fields[3].load(Ordering::Acquire);
            let entry = Entry {
                space: fields[0].load(Ordering::Relaxed),
                page: fields[1].load(Ordering::Relaxed),
                stamp: fields[2].load(Ordering::Relaxed),
                word,
            };
            fence(Ordering::Acquire);
            if entry.state() != state::BUSY && fields[3].load(Ordering::Relaxed) == word {
                return entry;
            }
            std::hint::spin_loop();
        }
    }
}

/// What a scan said of one block, and the sequence number of its entry then.
#[derive(Clone, Copy, Debug, Default)]
struct Base {
    space: u32,
    page: u32,
    word: u32,
}

/// One block as the probes and the scan together know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    /// One of [`probe_abi::state`].
    pub state: u32,
    /// Space id, where the block holds a page.
    pub space: u32,
    /// Page number, likewise.
    pub page: u32,
}

/// The table with the scan's findings under it.
pub struct Residency {
    table: Table,
    base: Vec<Base>,
    repairs: u64,
}

impl Residency {
    /// Puts an empty base under `table`.
    #[must_use]
    pub fn new(table: Table) -> Self {
        let base = vec![Base::default(); table.blocks() as usize];
        Self { table, base, repairs: 0 }
    }

    /// The kernel's table itself.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// What is known of a block.
    #[must_use]
    pub fn get(&self, block: u32) -> Resident {
        let entry = self.table.read(block);
        match self.base.get(block as usize) {
            Some(base) if base.word >> STATE_BITS == entry.sequence() && base.word != 0 => {
                Resident { state: state::of(base.word), space: base.space, page: base.page }
            }
            _ => Resident { state: entry.state(), space: entry.space, page: entry.page },
        }
    }

    /// Lays a finding under a block, made while its entry's word was `word`: it holds until the
    /// block's next event.
    pub fn lay(&mut self, block: u32, word: u32, found: Resident) {
        if let Some(base) = self.base.get_mut(block as usize) {
            let sequence = word >> STATE_BITS << STATE_BITS;
            *base = Base { space: found.space, page: found.page, word: sequence | found.state };
        }
        self.repairs += 1;
    }

    /// Number of findings laid: what is known of a block changes with its entry's word, or with
    /// this.
    #[must_use]
    pub const fn repairs(&self) -> u64 {
        self.repairs
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::fd::AsFd as _;

    /// A table in a file in place of the kernel's map: same bytes, same mapping.
    pub(crate) fn table(entries: &[Entry]) -> (std::fs::File, Table) {
        let mut file = tempfile::tempfile().unwrap();
        for e in entries {
            for field in [e.space, e.page, e.stamp, e.word] {
                file.write_all(&field.to_le_bytes()).unwrap();
            }
        }
        let blocks = u32::try_from(entries.len()).unwrap();
        let table = Table::map(file.as_fd(), blocks).unwrap();
        (file, table)
    }

    #[test]
    fn an_event_wins_over_what_was_laid_before_it() {
        use std::os::unix::fs::FileExt as _;
        let seen = Entry { space: 7, page: 9, stamp: 1, word: 5 << STATE_BITS | state::CLEAN };
        let (file, table) = table(&[seen]);
        let mut residency = Residency::new(table);
        assert_eq!(residency.get(0), Resident { state: state::CLEAN, space: 7, page: 9 });
        residency.lay(0, seen.word, Resident { state: state::DIRTY, space: 8, page: 1 });
        assert_eq!(residency.get(0), Resident { state: state::DIRTY, space: 8, page: 1 });
        let word = 6_u32 << STATE_BITS | state::FREE;
        file.write_all_at(&word.to_le_bytes(), 12).unwrap();
        assert_eq!(residency.get(0), Resident { state: state::FREE, space: 7, page: 9 });
    }

    #[test]
    fn blocks_outside_the_table_are_unseen() {
        let (_file, table) = table(&[Entry::default()]);
        assert_eq!(table.read(1), Entry::default());
        assert_eq!(table.word(u32::MAX), 0);
    }
}
