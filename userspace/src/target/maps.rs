//! The table of a process's mappings, `/proc/PID/maps`, which its owner may make as long as it likes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};

/// Longest line that is looked at, in bytes: a path of `PATH_MAX`, each byte of which the kernel may write
/// as four, and what stands before it.
const MAX_LINE: u64 = 4 * 4096 + 128;

/// What `wanted` takes of the first line that it takes anything of. Lines come in the order of their
/// addresses; no more than `most_bytes` are read, and one line is held at a time.
///
/// # Errors
/// The table cannot be read.
pub(super) fn first<T>(
    pid: u32,
    most_bytes: u64,
    wanted: impl FnMut(&[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    let maps = File::open(format!("/proc/{pid}/maps"))?;
    first_in(BufReader::new(maps.take(most_bytes)), wanted)
}

fn first_in<T>(
    mut maps: impl BufRead,
    mut wanted: impl FnMut(&[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut maps).take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if let Some(found) = wanted(line.trim_ascii_end()) {
            return Ok(Some(found));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_held_at_a_time_and_the_first_that_fits_ends_it() {
        let mut seen = Vec::new();
        let found = first_in(&b"a 1\nb 2\nc 3\n"[..], |line| {
            seen.push(line.to_vec());
            line.strip_prefix(b"b ").map(<[u8]>::to_vec)
        });
        assert_eq!(found.unwrap(), Some(b"2".to_vec()));
        assert_eq!(seen, [b"a 1", b"b 2"]);
        let mut longest = 0;
        let endless = io::repeat(b'x').take(1 << 20);
        let none = first_in(BufReader::new(endless), |line| {
            longest = longest.max(line.len());
            None::<()>
        });
        assert_eq!((none.unwrap(), longest as u64), (None, MAX_LINE));
    }

    #[test]
    fn no_more_is_read_than_was_allowed() {
        let all =
            first(std::process::id(), 1 << 20, |line| line.ends_with(b"[stack]").then_some(()));
        assert_eq!(all.unwrap(), Some(()));
        let few = first(std::process::id(), 100, |line| line.ends_with(b"[stack]").then_some(()));
        assert_eq!(few.unwrap(), None);
    }
}
