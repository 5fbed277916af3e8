//! Writing a list.

use std::io::{self, Write};

use thiserror::Error;

use crate::{
    FRAME_SHIFT, Facts, HEADER_BYTES, HEADER_BYTES_FIELD, MAGIC, Medium, RUN_BYTES_FIELD, Run,
    UNIT_SHIFT, VERSION,
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
    /// The header announces another number of runs.
    #[error("{announced} runs announced, {written} written")]
    Count {
        /// Number in the header.
        announced: u64,
        /// Number of runs that came.
        written: u64,
    },
    /// The writer failed.
    #[error("failed to write the page list")]
    Io(#[from] io::Error),
}

/// Joins runs that go on from each other; the runs come in the order of the list.
pub fn merged(runs: impl Iterator<Item = Run>) -> impl Iterator<Item = Run> {
    let mut runs = runs.peekable();
    std::iter::from_fn(move || {
        let mut run = runs.next()?;
        while let Some(joined) = runs.peek().and_then(|next| run.joined(next)) {
            run = joined;
            runs.next();
        }
        Some(run)
    })
}

/// Writes a whole list; the `count` runs come sorted and [`merged`].
///
/// # Errors
/// When a name does not fit, the writer fails, or there are not `count` runs.
pub fn encode(
    out: &mut impl Write,
    facts: &Facts,
    media: &[Medium],
    count: u64,
    runs: impl Iterator<Item = Run>,
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
    let media_count =
        u16::try_from(media.len()).map_err(|_| EncodeError::TooLong { what: "the media table" })?;
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&HEADER_BYTES_FIELD.to_le_bytes());
    header.extend_from_slice(&RUN_BYTES_FIELD.to_le_bytes());
    header.extend_from_slice(&[FRAME_SHIFT, UNIT_SHIFT]);
    header.extend_from_slice(&facts.page_size.to_le_bytes());
    header.extend_from_slice(&u32::from(media_count).to_le_bytes());
    for number in [table.len() as u64, count, facts.pages, facts.begun_ns, facts.done_ns] {
        header.extend_from_slice(&number.to_le_bytes());
    }
    out.write_all(&header)?;
    out.write_all(&table)?;
    let mut written = 0;
    for run in runs {
        out.write_all(&run.to_bytes())?;
        written += 1;
    }
    if written == count { Ok(()) } else { Err(EncodeError::Count { announced: count, written }) }
}
