//! What a list remembers of each slot on it: the word with which its page was judged.
//!
//! Each event of a slot changes its word: a page was read, became dirty, was written, or left. So a
//! slot whose word is the remembered one holds the same page with no change since, and is on the list
//! again without a look.
//!
//! Not all that was judged has an event: in a pool, a latch, a fix count, and changes of a mini-transaction
//! before its commit puts the page onto the flush list have none. A page may be listed that is in use by now,
//! as it may on a list made anew, a moment after the scan. Who uses the list proves each page.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

/// Reads of slots (of a pool: descriptors) that lie no further apart are one: a call costs about what so many do.
const NEAR: u32 = 16;

/// Words by slot; all threads that judge slots note theirs.
#[derive(Default)]
pub struct Judged {
    /// One more than the word; 0 for a slot that is not on the list.
    words: Vec<AtomicU32>,
    /// What they are words of.
    edition: u64,
}

/// What [`Judged::changes`] found.
#[derive(Default)]
pub(in crate::page_list) struct Changes {
    /// Slots that must be looked at, and few others between them.
    pub(in crate::page_list) unknown: Vec<Range<u32>>,
    /// Whether slots that were on the list had an event; they are forgotten.
    pub(in crate::page_list) some_left: bool,
}

impl Changes {
    /// Of a list that begins with nothing.
    pub(in crate::page_list) fn all(slots: u32) -> Self {
        Self { unknown: std::iter::once(0..slots).collect(), some_left: false }
    }
}

impl Judged {
    /// Nothing yet of so many slots, whose words are of this edition.
    pub(in crate::page_list) fn of_slots(slots: u32, edition: u64) -> Self {
        Self { words: (0..slots).map(|_| AtomicU32::new(0)).collect(), edition }
    }

    /// Whether the words are of so many slots, and of this edition.
    pub(in crate::page_list) fn are_of(&self, slots: u32, edition: u64) -> bool {
        self.words.len() == slots as usize && self.edition == edition
    }

    /// Whether the slot is on the list.
    #[inline]
    #[must_use]
    pub fn has(&self, slot: u32) -> bool {
        self.words.get(slot as usize).is_some_and(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// The slot's page may be skipped, and the slot had this word *before* it was looked at.
    #[inline]
    pub fn note(&self, slot: u32, word: u32) {
        self.set(slot, word.wrapping_add(1));
    }

    /// The slot is not on the list after all.
    #[inline]
    pub(in crate::page_list) fn forget(&self, slot: u32) {
        self.set(slot, 0);
    }

    #[inline]
    fn set(&self, slot: u32, noted: u32) {
        if let Some(word) = self.words.get(slot as usize) {
            word.store(noted, Ordering::Relaxed);
        }
    }

    /// Forgets every slot that had an event since, and returns which are to be looked at.
    pub(in crate::page_list) fn changes(&self, word: impl Fn(u32) -> u32) -> Changes {
        let mut changes = Changes::default();
        for (slot, noted) in (0..).zip(&self.words) {
            let then = noted.load(Ordering::Relaxed);
            if then != 0 {
                if then == word(slot).wrapping_add(1) {
                    continue;
                }
                noted.store(0, Ordering::Relaxed);
                changes.some_left = true;
            }
            match changes.unknown.last_mut() {
                Some(last) if slot - last.end < NEAR => last.end = slot + 1,
                _ => changes.unknown.push(slot..slot + 1),
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
    use crate::residency::{Residency, Resident, tests::table};

    #[test]
    fn a_judgement_holds_until_the_next_event_or_repair() {
        let seen = Entry { space: 7, page: 9, stamp: 1, word: 5 << STATE_BITS | state::CLEAN };
        let mut entries = [Entry::default(); 100];
        entries[0] = seen;
        let (file, table) = table(&entries);
        let mut residency = Residency::new(table);
        let noted = Judged::of_slots(100, residency.repairs());
        let changes = |residency: &Residency| noted.changes(|slot| residency.table().word(slot));
        assert_eq!(changes(&residency).unknown, Changes::all(100).unknown);
        // A block without any event has the word 0, and is noted like any other.
        for block in 0..100 {
            noted.note(block, residency.table().word(block));
        }
        assert!(changes(&residency).unknown.is_empty());

        let word = 6_u32 << STATE_BITS | state::CLEAN;
        file.write_all_at(&word.to_le_bytes(), 12).unwrap();
        file.write_all_at(&word.to_le_bytes(), 90 * 16 + 12).unwrap();
        noted.forget(92);
        let changed = changes(&residency);
        assert!(changed.some_left);
        assert_eq!(changed.unknown, [0..1, 90..93], "the one between costs less than a call");
        assert!(!noted.has(0) && noted.has(91));
        assert!(!changes(&residency).some_left, "they left once");

        assert!(noted.are_of(100, residency.repairs()));
        assert!(!noted.are_of(99, residency.repairs()));
        residency.lay(3, 0, Resident { state: state::CLEAN, space: 3, page: 4 });
        assert!(!noted.are_of(100, residency.repairs()), "repaired");
    }
}
