//! What all integration tests of this crate share.

/// Reports to the runner (`cargo xtask test`) that the current test cannot run here, and why: it counts
/// this line of the test's output. The caller returns after it.
#[expect(clippy::print_stdout, reason = "the line is the protocol between test and runner")]
pub(crate) fn skip(reason: &str) {
    // The harness runs each test in a thread of its name, with one thread at a time too.
    let thread = std::thread::current();
    println!("skipped: {}: {reason}", thread.name().unwrap_or("unnamed test"));
}
