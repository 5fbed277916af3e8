//! What a list remembers of each block on it: the entry's word with which it was judged.
//!
//! Each event of a block changes its word: a page was read, became dirty, was written, or left. So a
//! block whose word is the noted one holds the same page with no change on the flush list since, and is
//! on the list again without a look.
//!
//! Not all that was judged has an event: a latch, a fix count, and changes of a mini-transaction before
//! its commit puts the page onto the flush list have none. A page may be listed that is in use by now,
//! as it may on a list made anew, a moment after the scan. Who uses the list proves each page.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::residency::Residency;

/// Reads of descriptors that lie no further apart are one: a call costs about what so many
/// descriptors do.
const NEAR: u32 = 16;

/// Words by block; both threads of a list note theirs.
#[derive(Default)]
pub(super) struct Noted {
    /// One more than the word; 0 for a block that is not on the list.
    words: Vec<AtomicU32>,
    /// [`Residency::repairs`] when they were noted.
    repairs: u64,
}

/// What [`Noted::changes`] found.
#[derive(Default)]
pub(super) struct Changes {
    /// Blocks whose descriptors must be read, and few others between them.
    pub(super) unknown: Vec<Range<u32>>,
    /// Whether blocks that were on the list had an event; they are noted no more.
    pub(super) some_left: bool,
}

impl Changes {
    /// Of a list that begins with nothing.
    pub(super) fn all(blocks: u32) -> Self {
        Self { unknown: std::iter::once(0..blocks).collect(), some_left: false }
    }
}

impl Noted {
    /// Nothing noted of so many blocks.
    pub(super) fn nothing(blocks: u32, residency: Option<&Residency>) -> Self {
        Self {
            words: (0..blocks).map(|_| AtomicU32::new(0)).collect(),
            repairs: residency.map_or(0, Residency::repairs),
        }
    }

    /// Whether they are of this table as it is: of so many blocks, and repaired by no audit since.
    pub(super) fn are_of(&self, blocks: u32, residency: &Residency) -> bool {
        self.words.len() == blocks as usize && self.repairs == residency.repairs()
    }

    /// Whether the block is on the list.
    #[inline]
    pub(super) fn has(&self, block: u32) -> bool {
        self.words.get(block as usize).is_some_and(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// The block was judged eligible when its entry had this word, *before* its descriptor was read.
    #[inline]
    pub(super) fn note(&self, block: u32, word: u32) {
        self.set(block, word.wrapping_add(1));
    }

    /// The block is not on the list after all.
    #[inline]
    pub(super) fn forget(&self, block: u32) {
        self.set(block, 0);
    }

    #[inline]
    fn set(&self, block: u32, noted: u32) {
        if let Some(word) = self.words.get(block as usize) {
            word.store(noted, Ordering::Relaxed);
        }
    }

    /// Forgets every block that had an event since, and tells which are to be looked at.
    pub(super) fn changes(&self, residency: &Residency) -> Changes {
        let mut changes = Changes::default();
        for (block, noted) in (0..).zip(&self.words) {
            let then = noted.load(Ordering::Relaxed);
            if then != 0 {
                if then == residency.table().word(block).wrapping_add(1) {
                    continue;
                }
                noted.store(0, Ordering::Relaxed);
                changes.some_left = true;
            }
            match changes.unknown.last_mut() {
                Some(last) if block - last.end < NEAR => last.end = block + 1,
                _ => changes.unknown.push(block..block + 1),
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use probe_abi::{Entry, STATE_BITS, state};

    use super::*;
    use crate::residency::{Resident, tests::table};

    #[test]
    fn a_judgement_holds_until_the_next_event_or_repair() {
        let seen = Entry { space: 7, page: 9, stamp: 1, word: 5 << STATE_BITS | state::CLEAN };
        let mut entries = [Entry::default(); 100];
        entries[0] = seen;
        let (file, table) = table(&entries);
        let mut residency = Residency::new(table);
        let noted = Noted::nothing(100, Some(&residency));
        assert_eq!(noted.changes(&residency).unknown, Changes::all(100).unknown);
        // A block without any event has the word 0, and is noted like any other.
        for block in 0..100 {
            noted.note(block, residency.table().word(block));
        }
        assert!(noted.changes(&residency).unknown.is_empty());

        let word = 6_u32 << STATE_BITS | state::CLEAN;
        file.write_all_at(&word.to_le_bytes(), 12).unwrap();
        file.write_all_at(&word.to_le_bytes(), 90 * 16 + 12).unwrap();
        noted.forget(92);
        let changes = noted.changes(&residency);
        assert!(changes.some_left);
        assert_eq!(changes.unknown, [0..1, 90..93], "the one between costs less than a call");
        assert!(!noted.has(0) && noted.has(91));
        assert!(!noted.changes(&residency).some_left, "they left once");

        assert!(noted.are_of(100, &residency));
        assert!(!noted.are_of(99, &residency));
        residency.lay(3, 0, Resident { state: state::CLEAN, space: 3, page: 4 });
        assert!(!noted.are_of(100, &residency), "repaired");
    }
}
