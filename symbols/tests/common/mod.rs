//! What all integration tests of this crate share.

use std::io::Write as _;

/// Tells the runner that the current test cannot run here, and why. The caller returns after it.
///
/// The line goes to the stream itself: what `eprintln!` writes, the test harness keeps to itself
/// when the test passes.
pub(crate) fn skip(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("unnamed test");
    // Nothing is left to do when even standard error is closed.
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {reason}");
}
