//! Reading a list that may be hostile.

use thiserror::Error;

use crate::{FRAME_SHIFT, Facts, HEADER_BYTES, MAGIC, Medium, RUN_BYTES, Run, UNIT_SHIFT, VERSION};

/// The bytes are no list that this version reads.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ListError {
    /// Fewer bytes than the header says.
    #[error("the page list is cut short: {have} bytes, {need} needed")]
    Short {
        /// Bytes there.
        have: u64,
        /// Bytes needed.
        need: u64,
    },
    /// Not a list.
    #[error("not a page list (wrong magic number)")]
    Magic,
    /// Another version of the format.
    #[error("page list of version {found}, this program reads version {VERSION}")]
    Version {
        /// Version found.
        found: u16,
    },
    /// A length or unit that this version does not use.
    #[error("the page list's {what} is {found}")]
    Unexpected {
        /// Which number.
        what: &'static str,
        /// Its value.
        found: u64,
    },
    /// The media table contradicts itself.
    #[error("the page list's media table is malformed")]
    Media,
    /// A run names a medium that is not in the table.
    #[error("run {index} names medium {medium} of {media}")]
    NoMedium {
        /// Index of the run.
        index: usize,
        /// Medium that it names.
        medium: u16,
        /// Number of media.
        media: usize,
    },
    /// Runs out of order.
    #[error("run {index} stands before the run before it")]
    Order {
        /// Index of the run.
        index: usize,
    },
}

/// A parsed list; borrows the bytes.
#[derive(Clone, Copy, Debug)]
pub struct List<'a> {
    facts: Facts,
    media: usize,
    table: &'a [u8],
    runs: &'a [[u8; RUN_BYTES]],
}

fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    let mut word = [0; 8];
    if let Some(found) = bytes.get(at..at + len) {
        word[..len].copy_from_slice(found);
    }
    u64::from_le_bytes(word)
}

impl<'a> List<'a> {
    /// Checks the header, the media table and the order of all runs.
    ///
    /// # Errors
    /// When anything does not hold; the list is then of no use at all.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ListError> {
        let have = bytes.len() as u64;
        if bytes.len() < HEADER_BYTES {
            return Err(ListError::Short { have, need: HEADER_BYTES as u64 });
        }
        if bytes[..8] != MAGIC {
            return Err(ListError::Magic);
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(ListError::Version { found: version });
        }
        let expected = [
            ("header length", number(bytes, 10, 2), HEADER_BYTES as u64),
            ("run length", number(bytes, 12, 2), RUN_BYTES as u64),
            ("frame size", u64::from(bytes[14]), u64::from(FRAME_SHIFT)),
            ("disk unit", u64::from(bytes[15]), u64::from(UNIT_SHIFT)),
        ];
        for (what, found, wanted) in expected {
            if found != wanted {
                return Err(ListError::Unexpected { what, found });
            }
        }
        let (media, table_len, runs_len) =
            (number(bytes, 20, 4), number(bytes, 24, 8), number(bytes, 32, 8));
        let need = runs_len
            .checked_mul(RUN_BYTES as u64)
            .and_then(|runs| runs.checked_add(table_len)?.checked_add(HEADER_BYTES as u64))
            .ok_or(ListError::Unexpected { what: "number of runs", found: runs_len })?;
        if need > have {
            return Err(ListError::Short { have, need });
        }
        let short = |_| ListError::Short { have, need };
        let table_end = HEADER_BYTES + usize::try_from(table_len).map_err(short)?;
        let end = usize::try_from(need).map_err(short)?;
        if table_len % 8 != 0 {
            return Err(ListError::Media);
        }
        let list = Self {
            facts: Facts {
                page_size: u32::from_le_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]),
                pages: number(bytes, 40, 8),
                begun_ns: number(bytes, 48, 8),
                done_ns: number(bytes, 56, 8),
            },
            media: usize::try_from(media).map_err(|_| ListError::Media)?,
            table: &bytes[HEADER_BYTES..table_end],
            runs: bytes[table_end..end].as_chunks().0,
        };
        list.check()?;
        Ok(list)
    }

    fn check(&self) -> Result<(), ListError> {
        // Every medium needs eight bytes, so a huge count fails here before anything is counted out.
        if self.media > self.table.len() / 8 || self.media().count() != self.media {
            return Err(ListError::Media);
        }
        let mut last: Option<Run> = None;
        for (index, run) in self.runs().enumerate() {
            if usize::from(run.medium()) >= self.media {
                return Err(ListError::NoMedium { index, medium: run.medium(), media: self.media });
            }
            if last.is_some_and(|last| last > run) {
                return Err(ListError::Order { index });
            }
            last = Some(run);
        }
        Ok(())
    }

    /// Numbers of the header.
    #[must_use]
    pub const fn facts(&self) -> Facts {
        self.facts
    }

    /// The media, by the index that runs use.
    #[must_use]
    pub const fn media(&self) -> Media<'a> {
        Media { rest: self.table, left: self.media }
    }

    /// The runs in order.
    #[must_use]
    pub fn runs(&self) -> Runs<'a> {
        Runs { rest: self.runs.iter() }
    }
}

/// Iterator over the media table.
#[derive(Clone, Debug)]
pub struct Media<'a> {
    rest: &'a [u8],
    left: usize,
}

impl Iterator for Media<'_> {
    type Item = Medium;

    fn next(&mut self) -> Option<Medium> {
        self.left = self.left.checked_sub(1)?;
        let (kind, len) = (number(self.rest, 0, 2), number(self.rest, 2, 2));
        let len = usize::try_from(len).ok()?;
        let name = self.rest.get(4..4 + len)?;
        let name = std::str::from_utf8(name).ok()?.to_owned();
        self.rest = self.rest.get((4 + len).next_multiple_of(8)..)?;
        match u16::try_from(kind).ok()? {
            Medium::DISK => Some(Medium::Disk(name)),
            Medium::SHARE_FILE => Some(Medium::ShareFile(name)),
            _ => None,
        }
    }
}

/// Iterator over the runs.
#[derive(Clone, Debug)]
pub struct Runs<'a> {
    rest: std::slice::Iter<'a, [u8; RUN_BYTES]>,
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        self.rest.next().map(Run::from_bytes)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rest.size_hint()
    }
}

impl ExactSizeIterator for Runs<'_> {}
