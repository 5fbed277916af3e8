//! The build id of a program, by its notes (System V gABI, "Note Section").

use std::ops::Range;

use object::elf::{ELF_NOTE_GNU, NT_GNU_BUILD_ID};

use super::error::TextError;
use super::unwind::Mapped;

/// Most bytes of notes that are read of one section; those of a server have some hundred.
const MAX_BYTES: u64 = 64 << 10;

/// Most sections or segments of notes that are looked at.
const MAX_PLACES: usize = 16;

/// Bytes of a note before its name: lengths of name and description, and its type.
const HEAD: usize = 12;

/// Longest build id; 20 bytes (SHA-1) is usual, a longer one is somebody's own choice up to a point.
const MAX_ID: usize = 64;

/// Where notes stand in the file, and how they are aligned.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes(Vec<(Range<u64>, usize)>);

impl Notes {
    pub(super) fn add(&mut self, range: Range<u64>, align: u64) {
        if self.0.len() < MAX_PLACES {
            self.0.push((range, if align == 8 { 8 } else { 4 }));
        }
    }

    /// The build id that the linker gave the program, if any.
    pub(super) fn build_id(&self, text: &impl Mapped) -> Result<Option<Vec<u8>>, TextError> {
        for (range, align) in &self.0 {
            let len = range.end.saturating_sub(range.start).min(MAX_BYTES);
            let bytes = text.bytes(range.start, len)?;
            if let Some(id) = find(&bytes, *align) {
                let is_usual = (1..=MAX_ID).contains(&id.len());
                return Ok(is_usual.then(|| id.to_vec()));
            }
        }
        Ok(None)
    }
}

/// The description of the first note that is a build id.
fn find(mut notes: &[u8], align: usize) -> Option<&[u8]> {
    loop {
        let (head, rest) = notes.split_first_chunk::<HEAD>()?;
        let number = |at: usize| {
            let bytes = [head[at], head[at + 1], head[at + 2], head[at + 3]];
            usize::try_from(u32::from_le_bytes(bytes)).ok()
        };
        let (name_len, len, kind) = (number(0)?, number(4)?, number(8)?);
        // Both begin where a note of this alignment may.
        let start = HEAD.checked_add(name_len)?.checked_next_multiple_of(align)?;
        let end = start.checked_add(len)?;
        let (name, id) = (rest.get(..name_len)?, notes.get(start..end)?);
        let name = name.split(|byte| *byte == 0).next()?;
        if name == ELF_NOTE_GNU && u32::try_from(kind) == Ok(NT_GNU_BUILD_ID.0) {
            return Some(id);
        }
        notes = notes.get(end.checked_next_multiple_of(align)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::find;

    fn note(name: &[u8], kind: u32, id: &[u8]) -> Vec<u8> {
        let len = |of: &[u8]| u32::try_from(of.len()).unwrap().to_le_bytes();
        let mut note = [len(name), len(id), kind.to_le_bytes()].concat();
        for part in [name, id] {
            note.extend_from_slice(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    #[test]
    fn the_build_id_stands_among_other_notes() {
        let notes = [note(b"GNU\0", 5, &[1; 7]), note(b"GNU\0", 3, &[2; 20])].concat();
        assert_eq!(find(&notes, 4), Some(&[2; 20][..]));
        assert_eq!(find(&note(b"Go\0", 3, &[2; 20]), 4), None);
        for cut in 0..notes.len() {
            assert_eq!(find(&notes[..cut], 4), None, "{cut}");
        }
        let endless = [[0xff; 4], [0xff; 4], [3, 0, 0, 0]].concat();
        assert_eq!(find(&endless, 4), None);
    }
}
