//! The kernel's text files about a process (`/proc/PID/...`), whose length the process's owner controls.
//!
//! It has as many mounts, mappings, groups and locks as it likes, and each of their paths may be as long as paths are.

mod mappings;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

pub use mappings::{Mapping, first_mapping};

/// Longest line that is held, in bytes: three paths of `PATH_MAX`, each byte of which the kernel may write as four, and
/// what stands between them.
const MOST_LINE: u64 = 3 * 4 * 4096 + 4096;

/// The lines of a text, one held at a time.
pub struct Lines<R> {
    text: io::Take<R>,
    line: Vec<u8>,
}

impl Lines<BufReader<File>> {
    /// The lines among the first `most_bytes` of a file.
    pub fn of(file: File, most_bytes: u64) -> Self {
        Self::within(BufReader::with_capacity(16 << 10, file), most_bytes)
    }
}

impl<R: BufRead> Lines<R> {
    /// The lines among the first `most_bytes` of a text.
    pub fn within(text: R, most_bytes: u64) -> Self {
        Self { text: text.take(most_bytes), line: Vec::new() }
    }

    /// The next one, without its end; one that is longer than any should be is cut.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        let read = (&mut self.text).take(MOST_LINE).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else {
            self.text.skip_until(b'\n')?;
        }
        Ok(Some(&self.line))
    }
}

/// The first `most_bytes` of a text; the rest is not asked for.
///
/// # Errors
/// It cannot be read.
pub fn head(path: impl AsRef<Path>, most_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same as text.
///
/// # Errors
/// It cannot be read.
pub fn text_head(path: impl AsRef<Path>, most_bytes: u64) -> io::Result<String> {
    let bytes = head(path, most_bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: impl BufRead, most_bytes: u64) -> Vec<usize> {
        let mut lines = Lines::within(text, most_bytes);
        let mut lengths = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            lengths.push(line.len());
        }
        lengths
    }

    #[test]
    fn one_line_is_held_at_a_time_and_the_rest_of_a_long_one_is_none() {
        assert_eq!(all(&b"a 1\n\nb\nlast"[..], 1 << 20), [3, 0, 1, 4]);
        let endless = BufReader::new(io::repeat(b'x').take(1 << 20).chain(&b"\nnext\n"[..]));
        let most = usize::try_from(MOST_LINE).unwrap();
        assert_eq!(all(endless, 2 << 20), [most, 4]);
    }

    #[test]
    fn no_more_is_read_than_was_allowed() {
        assert_eq!(all(&b"a\nb\nc\n"[..], 4), [1, 1]);
        assert_eq!(head("/proc/self/status", 5).unwrap(), b"Name:");
        assert_eq!(text_head("/proc/self/status", 5).unwrap(), "Name:");
    }
}
