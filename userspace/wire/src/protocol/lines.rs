//! Objects to lines and back; bytes as they come to whole lines.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// A line that cannot be used.
#[derive(Debug, Error)]
pub enum LineError {
    /// Longer than its reader takes.
    #[error("a line is longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// Not the object that was expected.
    #[error("a line of {bytes} bytes is no message: {source}")]
    Malformed {
        /// Its length.
        bytes: usize,
        /// What the parser found.
        source: serde_json::Error,
    },
}

/// The object as one line, its end included. JSON as it is written here has no line ends of its own.
///
/// # Errors
/// [`LineError::TooLong`] beyond `limit`.
pub fn to_line(object: &impl Serialize, limit: usize) -> Result<Vec<u8>, LineError> {
    let mut line =
        serde_json::to_vec(object).map_err(|source| LineError::Malformed { bytes: 0, source })?;
    line.push(b'\n');
    if line.len() > limit { Err(LineError::TooLong { limit }) } else { Ok(line) }
}

/// The inverse of [`to_line`], with or without the end of the line.
///
/// # Errors
/// [`LineError::Malformed`].
pub fn from_line<T: DeserializeOwned>(line: &[u8]) -> Result<T, LineError> {
    serde_json::from_slice(line)
        .map_err(|source| LineError::Malformed { bytes: line.len(), source })
}

/// Puts lines together from bytes as they come. Holds one line at most, and no more than the limit:
/// a longer line is discarded up to its end, and reported once.
#[derive(Debug)]
pub struct LineBuffer {
    limit: usize,
    line: Vec<u8>,
    /// Inside a line that is too long.
    skipping: bool,
}

impl LineBuffer {
    /// Lines of `limit` bytes at most, without their end.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { limit, line: Vec::new(), skipping: false }
    }

    /// Takes bytes off the front of `bytes`; the line, without its end, when one is complete. Call it
    /// until `bytes` is empty. Empty lines are left out.
    ///
    /// # Errors
    /// [`LineError::TooLong`], once for each such line.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Option<Result<Vec<u8>, LineError>> {
        while !bytes.is_empty() {
            let (part, rest, ended) = match bytes.iter().position(|&byte| byte == b'\n') {
                Some(end) => (&bytes[..end], &bytes[end + 1..], true),
                None => (*bytes, &[][..], false),
            };
            *bytes = rest;
            if self.skipping {
                self.skipping = !ended;
                continue;
            }
            if self.line.len() + part.len() > self.limit {
                self.line = Vec::new();
                self.skipping = !ended;
                return Some(Err(LineError::TooLong { limit: self.limit }));
            }
            self.line.extend_from_slice(part);
            if ended && !self.line.is_empty() {
                return Some(Ok(std::mem::take(&mut self.line)));
            }
        }
        None
    }

    /// Forgets what has come of the line: the other side has gone.
    pub fn clear(&mut self) {
        self.line = Vec::new();
        self.skipping = false;
    }
}
