//! Lines of JSON, bounded.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};

use super::QmpError;

/// Longest line in bytes. `info mtree -f` of a VM with hundreds of devices has about 1 MiB.
pub(super) const MAX_LINE: u64 = 16 << 20;

/// Reads values, one a line.
pub(super) struct Lines<R> {
    stream: BufReader<R>,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { stream: BufReader::with_capacity(1 << 16, stream), line: Vec::new() }
    }

    /// The next value; `None` at the end of the stream. Empty lines are passed over.
    pub(super) async fn next(&mut self) -> Result<Option<Value>, QmpError> {
        loop {
            self.line.clear();
            let mut bounded = (&mut self.stream).take(MAX_LINE);
            let read = bounded.read_until(b'\n', &mut self.line).await?;
            if read == 0 {
                return Ok(None);
            }
            if self.line.last() != Some(&b'\n') && read as u64 == MAX_LINE {
                return Err(QmpError::LineTooLong);
            }
            let text = self.line.trim_ascii();
            if !text.is_empty() {
                return serde_json::from_slice(text).map(Some).map_err(QmpError::NotJson);
            }
        }
    }
}
