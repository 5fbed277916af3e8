//! Reading a list piece by piece: memory does not grow with it.

use std::io::{self, BufReader, Read};

use thiserror::Error;

use crate::decode::{Header, Sequence};
use crate::{Bounds, Device, Facts, HEADER_BYTES, ListError, RUN_BYTES, Run};

/// Bytes read at once.
const CHUNK_BYTES: usize = 1 << 16;

/// A list that cannot be read to its end.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It is no list, or a wrong one.
    #[error(transparent)]
    List(#[from] ListError),
    /// What it is read from failed.
    #[error("failed to read the page list")]
    Io(#[source] io::Error),
}

/// A list of which header and devices table were read; it gives the runs.
///
/// What it gave before an error stood in the list, and no more is known of it.
pub struct ListReader<R> {
    input: BufReader<R>,
    facts: Facts,
    devices: Vec<Device>,
    sequence: Sequence,
    /// Runs of the whole list, and those that were read.
    runs: u64,
    read: u64,
    /// Bytes of the whole list.
    bytes: u64,
}

impl<R: Read> ListReader<R> {
    /// Reads header and devices table.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn open(input: R, bounds: Bounds) -> Result<Self, ReadError> {
        let mut input = BufReader::with_capacity(CHUNK_BYTES, input);
        let mut head = [0; HEADER_BYTES];
        fill(&mut input, &mut head, 0, HEADER_BYTES as u64)?;
        let header = Header::parse(&head, bounds)?;
        let mut table = vec![0; header.table];
        fill(&mut input, &mut table, HEADER_BYTES as u64, header.bytes())?;
        let devices = header.devices(&table)?;
        Ok(Self {
            input,
            facts: header.facts,
            sequence: Sequence::new(devices.len()),
            devices,
            runs: header.runs,
            read: 0,
            bytes: header.bytes(),
        })
    }

    /// Numbers of the header.
    pub const fn facts(&self) -> Facts {
        self.facts
    }

    /// The devices, by the index that runs use.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// Number of runs.
    pub const fn run_count(&self) -> u64 {
        self.runs
    }

    /// The next run; `None` after the last one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn next_run(&mut self) -> Result<Option<Run>, ReadError> {
        if self.read == self.runs {
            return Ok(None);
        }
        let mut bytes = [0; RUN_BYTES];
        let before = self.bytes - (self.runs - self.read) * RUN_BYTES as u64;
        fill(&mut self.input, &mut bytes, before, self.bytes)?;
        let run = Run::from_bytes(&bytes);
        self.sequence.check(run)?;
        self.read += 1;
        Ok(Some(run))
    }
}

/// Fills `bytes`, before which `have` were read of `need`.
fn fill(input: &mut impl Read, bytes: &mut [u8], have: u64, need: u64) -> Result<(), ReadError> {
    let mut filled = 0;
    while filled < bytes.len() {
        match input.read(&mut bytes[filled..]) {
            Ok(0) => return Err(ListError::Short { have: have + filled as u64, need }.into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ReadError::Io(error)),
        }
    }
    Ok(())
}
