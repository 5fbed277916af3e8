//! Writing a list.

use std::io::{self, Write};

use page_number::{PAGE_SHIFT, UNIT_SHIFT};
use thiserror::Error;

use crate::{
    Device, Facts, HEADER_BYTES, HEADER_BYTES_FIELD, MAGIC, MAX_DEVICES, MAX_NAME_BYTES,
    RUN_BYTES_FIELD, Run, VERSION,
};

/// A list could not be written.
#[derive(Debug, Error)]
pub enum EncodeError {
    /// A name is longer than [`MAX_NAME_BYTES`], or there are more than [`MAX_DEVICES`].
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
#[derive(Debug, Default)]
pub struct Merger(Option<Run>);

impl Merger {
    /// Takes the next run; gives the one before it once that can grow no more.
    #[inline]
    pub fn push(&mut self, next: Run) -> Option<Run> {
        match self.0.and_then(|run| run.joined(&next)) {
            Some(joined) => {
                self.0 = Some(joined);
                None
            }
            None => self.0.replace(next),
        }
    }

    /// The last run.
    #[must_use]
    pub fn finish(self) -> Option<Run> {
        self.0
    }
}

/// Runs are handed to the writer in batches of this size, which stay in the cache.
const BATCH_BYTES: usize = 1 << 15;

/// Writes a whole list; the `count` runs come sorted and merged.
///
/// # Errors
/// When a name does not fit, the writer fails, or there are not `count` runs.
pub fn encode(
    out: &mut impl Write,
    facts: &Facts,
    devices: &[Device],
    count: u64,
    runs: impl Iterator<Item = Run>,
) -> Result<(), EncodeError> {
    let mut encoder = Encoder::new(out, facts, devices, count)?;
    for run in runs {
        encoder.push(run)?;
    }
    encoder.finish()
}

/// Writes a list run by run.
pub struct Encoder<W> {
    out: W,
    batch: Vec<u8>,
    announced: u64,
    written: u64,
}

impl<W: Write> Encoder<W> {
    /// Writes header and devices table of a list of `count` runs.
    ///
    /// # Errors
    /// When a name does not fit or the writer fails.
    pub fn new(
        mut out: W,
        facts: &Facts,
        devices: &[Device],
        count: u64,
    ) -> Result<Self, EncodeError> {
        let head = encode_head(facts, devices, count)?;
        out.write_all(&head)?;
        Ok(Self::part(out, count))
    }

    /// Writes `count` of a list's runs alone; what comes before them somebody else writes.
    pub fn part(out: W, count: u64) -> Self {
        Self { out, batch: Vec::with_capacity(BATCH_BYTES), announced: count, written: 0 }
    }

    /// Writes the next run.
    ///
    /// # Errors
    /// When the writer fails.
    #[inline]
    pub fn push(&mut self, run: Run) -> Result<(), EncodeError> {
        self.batch.extend_from_slice(&run.to_bytes());
        self.written += 1;
        if self.batch.len() >= BATCH_BYTES {
            self.out.write_all(&self.batch)?;
            self.batch.clear();
        }
        Ok(())
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// When the writer fails or other than `count` runs came.
    pub fn finish(mut self) -> Result<(), EncodeError> {
        self.out.write_all(&self.batch)?;
        let Self { announced, written, .. } = self;
        if written == announced { Ok(()) } else { Err(EncodeError::Count { announced, written }) }
    }
}

/// Header and devices table of a list of `count` runs.
///
/// # Errors
/// When a name does not fit.
pub fn encode_head(facts: &Facts, devices: &[Device], count: u64) -> Result<Vec<u8>, EncodeError> {
    let mut table = Vec::new();
    for device in devices {
        let name = device.name().as_bytes();
        let len = u16::try_from(name.len()).ok().filter(|_| name.len() <= MAX_NAME_BYTES);
        let len = len.ok_or(EncodeError::TooLong { what: "the name of a block device" })?;
        table.extend_from_slice(&device.kind().to_le_bytes());
        table.extend_from_slice(&len.to_le_bytes());
        table.extend_from_slice(name);
        table.resize(table.len().next_multiple_of(8), 0);
    }
    let devices_count = u16::try_from(devices.len()).ok().filter(|_| devices.len() <= MAX_DEVICES);
    let devices_count =
        devices_count.ok_or(EncodeError::TooLong { what: "the table of block devices" })?;
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&HEADER_BYTES_FIELD.to_le_bytes());
    header.extend_from_slice(&RUN_BYTES_FIELD.to_le_bytes());
    header.extend_from_slice(&[PAGE_SHIFT, UNIT_SHIFT]);
    header.extend_from_slice(&facts.page_size.to_le_bytes());
    header.extend_from_slice(&u32::from(devices_count).to_le_bytes());
    for number in [table.len() as u64, count, facts.pages, facts.begun_ns, facts.done_ns] {
        header.extend_from_slice(&number.to_le_bytes());
    }
    header.extend_from_slice(&table);
    Ok(header)
}
