//! The residency table as the agent sees it: the probes' table in kernel memory, and under it what
//! the agent's own scan found of blocks that had no event since.
//!
//! The agent never writes the probes' table. A scan's finding is laid *under* the entry, in a table of its own, together
//! with the entry's sequence number at that time; the next event of the block has another number and
//! wins. So neither an event nor a repair can be lost to the other. Probes read that table where a block has its first
//! event: only there is known whether it held a page.
#![expect(unsafe_code, reason = "maps kernel memory that eBPF programs write")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};
use probe_abi::{Entry, STATE_BITS, state};

/// Both tables in kernel memory: the probes', mapped for reading, and the agent's under it.
pub struct Table {
    map: MmapRaw,
    laid: MmapRaw,
    blocks: u32,
}

/// The entry of a block in a mapping of entries.
fn entry(map: &MmapRaw, blocks: u32, block: u32) -> Option<&[AtomicU32; 4]> {
    if block >= blocks {
        return None;
    }
    let base = map.as_ptr().cast::<[AtomicU32; 4]>();
    // SAFETY: `block` is inside the mapping, which has `blocks` entries and lives as long as the reference; an entry is
    // 16 bytes of integers, aligned to 16 in a page-aligned mapping, and only ever accessed atomically here.
    Some(unsafe { &*base.add(block as usize) })
}

impl Table {
    /// Maps the probes' table and the agent's behind these descriptors, which have `blocks` entries each.
    ///
    /// # Errors
    /// When the kernel refuses a mapping.
    pub fn map(fd: BorrowedFd<'_>, laid: BorrowedFd<'_>, blocks: u32) -> io::Result<Self> {
        let len = blocks.max(1) as usize * size_of::<Entry>();
        let map = MmapOptions::new().len(len).map_raw_read_only(fd.as_raw_fd())?;
        let laid = MmapOptions::new().len(len).map_raw(laid.as_raw_fd())?;
        Ok(Self { map, laid, blocks })
    }

    /// Number of blocks.
    #[must_use]
    pub const fn blocks(&self) -> u32 {
        self.blocks
    }

    fn fields(&self, block: u32) -> Option<&[AtomicU32; 4]> {
        entry(&self.map, self.blocks, block)
    }

    /// What was laid under a block.
    fn laid(&self, block: u32) -> Option<Entry> {
        let fields = entry(&self.laid, self.blocks, block)?;
        let field = |n: usize| fields[n].load(Ordering::Relaxed);
        Some(Entry { space: field(0), page: field(1), stamp: 0, word: field(3) })
    }

    /// Lays a finding under a block. A probe that looks meanwhile finds nothing.
    fn lay(&mut self, block: u32, found: Entry) {
        let Some(fields) = entry(&self.laid, self.blocks, block) else { return };
        fields[3].store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        fields[0].store(found.space, Ordering::Relaxed);
        fields[1].store(found.page, Ordering::Relaxed);
        fields[3].store(found.word, Ordering::Release);
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

impl Resident {
    /// A block that holds no page.
    pub const FREE: Self = Self { state: state::FREE, space: 0, page: 0 };

    /// Whether no page is known in it.
    #[must_use]
    pub const fn is_free(&self) -> bool {
        matches!(self.state, state::FREE | state::UNSEEN)
    }
}

/// The table with the scan's findings under it.
pub struct Residency {
    table: Table,
    repairs: u64,
}

impl Residency {
    /// Nothing is laid under `table` yet.
    #[must_use]
    pub const fn new(table: Table) -> Self {
        Self { table, repairs: 0 }
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
        match self.table.laid(block) {
            Some(base) if base.word >> STATE_BITS == entry.sequence() && base.word != 0 => {
                Resident { state: state::of(base.word), space: base.space, page: base.page }
            }
            _ => Resident { state: entry.state(), space: entry.space, page: entry.page },
        }
    }

    /// Lays a finding under a block, made while its entry's word was `word`: it holds until the
    /// block's next event.
    pub fn lay(&mut self, block: u32, word: u32, found: Resident) {
        let word = word >> STATE_BITS << STATE_BITS | found.state;
        self.table.lay(block, Entry { space: found.space, page: found.page, stamp: 0, word });
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
        let laid = tempfile::tempfile().unwrap();
        laid.set_len(u64::from(blocks.max(1)) * 16).unwrap();
        let table = Table::map(file.as_fd(), laid.as_fd(), blocks).unwrap();
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
