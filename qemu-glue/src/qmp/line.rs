//! Lines of JSON, bounded in their length and in what becomes of them.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};

use super::error::{MAX_LINE, MAX_VALUES, QmpError};

/// What an object counts for beside its members: the parser makes room for eleven of them at once, 632 bytes.
const OBJECT: usize = 7;

/// Room for lines that is kept from one to the next, in bytes.
const KEPT: usize = 1 << 16;

/// Reads values, one a line.
pub(super) struct QmpLines<R> {
    stream: BufReader<R>,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> QmpLines<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { stream: BufReader::with_capacity(1 << 16, stream), line: Vec::new() }
    }

    /// The next value, and the length of its line in bytes; `None` at the end of the stream. Empty lines are
    /// passed over.
    pub(super) async fn next(&mut self) -> Result<Option<(Value, usize)>, QmpError> {
        loop {
            self.line.clear();
            self.line.shrink_to(KEPT);
            let mut bounded = (&mut self.stream).take(MAX_LINE);
            let read = bounded.read_until(b'\n', &mut self.line).await?;
            if read == 0 {
                return Ok(None);
            }
            if self.line.last() != Some(&b'\n') && read as u64 == MAX_LINE {
                return Err(QmpError::LineTooLong);
            }
            let text = self.line.trim_ascii();
            if values(text) > MAX_VALUES {
                return Err(QmpError::TooManyValues);
            }
            if !text.is_empty() {
                let value = serde_json::from_slice(text).map_err(QmpError::NotJson)?;
                return Ok(Some((value, read)));
            }
        }
    }
}

/// How many values a parser would make of it, or more.
fn values(text: &[u8]) -> usize {
    let (mut values, mut quoted, mut escaped) = (1, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b',' | b'[' if !quoted => values += 1,
            b'{' if !quoted => values += 1 + OBJECT,
            _ => {}
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_without_parsing_them() {
        assert_eq!(values(b"7"), 1);
        assert_eq!(values(br#"{"a":[1,2,3],"b":"[,{\",[\\"}"#), 6 + OBJECT);
        assert_eq!(values("[".repeat(5000).as_bytes()), 5001);
    }

    #[tokio::test]
    async fn a_short_line_may_not_become_a_large_tree() {
        let zeros = |count: usize| format!("[{}]\n", vec!["0"; count].join(","));
        let (honest, hostile) = (zeros(MAX_VALUES - 1), zeros(MAX_VALUES + 1));
        let text = honest + &hostile;
        let mut lines = QmpLines::new(text.as_bytes());
        assert!(lines.next().await.unwrap().is_some());
        assert!(lines.next().await.is_err());
        // Of 8 bytes each, and over 600 once they are parsed.
        let objects = |count: usize| format!("[{}]\n", vec![r#"{"":{}}"#; count].join(","));
        let (honest, hostile) = (objects(MAX_VALUES / 20), objects(MAX_VALUES / 16));
        let text = honest + &hostile;
        let mut lines = QmpLines::new(text.as_bytes());
        assert!(lines.next().await.unwrap().is_some());
        let error = lines.next().await.unwrap_err();
        assert!(matches!(error, QmpError::TooManyValues), "{error}");
    }
}
