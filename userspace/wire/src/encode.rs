//! Writing a list.

use std::io::{self, Write};

use thiserror::Error;

use crate::{
    FRAME_SHIFT, Facts, HEADER_BYTES, MAGIC, Medium, RUN_BYTES, Run, UNIT_SHIFT, VERSION,
};

/// A list could not be written.
#[derive(Debug, Error)]
pub enum EncodeError {
    /// A medium's name is longer than 65535 bytes, or there are more media than runs can name.
    #[error("{what} does not fit the format")]
    TooLong {
        /// What is too long.
        what: &'static str,
    },
    /// The writer failed.
    #[error("failed to write the page list")]
    Io(#[from] io::Error),
}

/// Sorts runs into the order of the list and merges those that go on from each other, in place.
pub fn sort_and_merge(runs: &mut Vec<Run>) {
    runs.sort_unstable();
    runs.dedup_by(|next, last| match last.joined(next) {
        Some(joined) => {
            *last = joined;
            true
        }
        None => false,
    });
}

/// Writes a whole list; `runs` must be sorted ([`sort_and_merge`]).
///
/// # Errors
/// When a name does not fit, or the writer fails.
pub fn encode(
    out: &mut impl Write,
    facts: &Facts,
    media: &[Medium],
    runs: &[Run],
) -> Result<(), EncodeError> {
    let mut table = Vec::new();
    for medium in media {
        let name = medium.name().as_bytes();
        let len = u16::try_from(name.len())
            .map_err(|_| EncodeError::TooLong { what: "a medium's name" })?;
        table.extend_from_slice(&medium.kind().to_le_bytes());
        table.extend_from_slice(&len.to_le_bytes());
        table.extend_from_slice(name);
        table.resize(table.len().next_multiple_of(8), 0);
    }
    let count =
        u16::try_from(media.len()).map_err(|_| EncodeError::TooLong { what: "the media table" })?;
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&(HEADER_BYTES as u16).to_le_bytes());
    header.extend_from_slice(&(RUN_BYTES as u16).to_le_bytes());
    header.extend_from_slice(&[FRAME_SHIFT, UNIT_SHIFT]);
    header.extend_from_slice(&facts.page_size.to_le_bytes());
    header.extend_from_slice(&u32::from(count).to_le_bytes());
    for number in
        [table.len() as u64, runs.len() as u64, facts.pages, facts.begun_ns, facts.done_ns]
    {
        header.extend_from_slice(&number.to_le_bytes());
    }
    out.write_all(&header)?;
    out.write_all(&table)?;
    for run in runs {
        out.write_all(&run.to_bytes())?;
    }
    Ok(())
}
