//! Log lines while the viewer has the screen: held back, and written to standard error afterwards. There they go
//! through the outlet, so who logs never waits for a reader.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lines that are held; of more, the newest.
const LINES: usize = 1000;

/// Longest line that is held, in bytes.
const LINE_BYTES: usize = 4096;

static HELD: Mutex<Held> = Mutex::new(Held { holding: false, lines: VecDeque::new(), dropped: 0 });

struct Held {
    holding: bool,
    lines: VecDeque<Vec<u8>>,
    dropped: u64,
}

impl Held {
    /// Appends a line or a piece of one. What is too long is cut; its end is kept.
    fn push(&mut self, piece: &[u8]) {
        if let Some(open) = self.lines.back_mut().filter(|line| !line.ends_with(b"\n")) {
            let end = piece.ends_with(b"\n").then_some(b'\n');
            let room = LINE_BYTES.saturating_sub(open.len());
            open.extend_from_slice(&piece[..piece.len().min(room)]);
            open.extend(end.filter(|_| piece.len() > room));
            return;
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
            self.dropped += 1;
        }
        self.lines.push_back(Vec::new());
        self.push(piece);
    }
}

/// Target for the logger of a program that opens the viewer: standard error, except that nothing is
/// written there while the viewer is open.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogSink;

impl Write for LogSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut held = lock();
        if !held.holding {
            return outlet::stderr().writer().write(bytes);
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            held.push(piece);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// From now on lines are held.
pub(super) fn hold() {
    lock().holding = true;
}

/// Writes what was held to standard error; from now on lines go there directly.
pub(super) fn release() {
    let mut held = lock();
    held.holding = false;
    let mut lines = Vec::new();
    // memory takes what it is given
    let _ = drain(&mut held, &mut lines);
    drop(held);
    outlet::stderr().push(&lines);
    // what comes next, the message of a panic, may be written past the outlet
    outlet::stderr().drain_until(Instant::now() + TAKES);
}

/// How long the lines that were held may take.
const TAKES: Duration = Duration::from_millis(300);

fn drain(held: &mut Held, out: &mut impl Write) -> io::Result<()> {
    let dropped = std::mem::take(&mut held.dropped);
    if dropped > 0 {
        writeln!(out, "({dropped} older log lines were dropped while the viewer was open)")?;
    }
    for line in held.lines.drain(..) {
        out.write_all(&line)?;
        if line.last() != Some(&b'\n') {
            writeln!(out)?;
        }
    }
    out.flush()
}

/// The lines stay sound if a thread panicked while logging.
fn lock() -> MutexGuard<'static, Held> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_the_newest_lines_and_tells_of_the_others() {
        hold();
        for i in 0..LINES + 2 {
            writeln!(LogSink, "line {i}").unwrap();
        }
        writeln!(LogSink, "{}", "x".repeat(2 * LINE_BYTES)).unwrap();
        let mut out = Vec::new();
        drain(&mut lock(), &mut out).unwrap();
        release();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("(3 older log lines were dropped"), "{text}");
        assert!(text.contains("\nline 3\n") && text.contains("\nline 1001\nxxx"));
        assert_eq!(text.lines().last().map(str::len), Some(LINE_BYTES));
        assert_eq!(text.lines().count(), 1 + LINES);
        assert!(lock().lines.is_empty());
    }
}
