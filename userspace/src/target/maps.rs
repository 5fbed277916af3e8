//! The table of a process's mappings, `/proc/PID/maps`, which its owner may make as long as it likes.

use std::fs::File;
use std::io;

use crate::kernel_text::Lines;

/// What `wanted` takes of the first line that it takes anything of. Lines come in the order of their
/// addresses; no more than `most_bytes` are read, and one line is held at a time.
///
/// # Errors
/// The table cannot be read.
pub(super) fn first<T>(
    pid: u32,
    most_bytes: u64,
    mut wanted: impl FnMut(&[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    let mut lines = Lines::of(File::open(format!("/proc/{pid}/maps"))?, most_bytes);
    while let Some(line) = lines.next()? {
        if let Some(found) = wanted(line) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_fits_ends_it_and_no_more_is_read_than_was_allowed() {
        let stack = |line: &[u8]| line.ends_with(b"[stack]").then_some(());
        assert_eq!(first(std::process::id(), 1 << 20, stack).unwrap(), Some(()));
        assert_eq!(first(std::process::id(), 100, stack).unwrap(), None);
        let mut seen = 0;
        let any = |_: &[u8]| {
            seen += 1;
            (seen == 2).then_some(seen)
        };
        assert_eq!(first(std::process::id(), 1 << 20, any).unwrap(), Some(2));
    }
}
