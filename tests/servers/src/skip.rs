//! A test that cannot run here says so.

use std::fmt::Display;

/// Prints the line by which `cargo xtask test` counts the test `name` as skipped instead of passed.
///
/// The caller returns right after it; `reason` is for people and is listed at the end of the run.
#[expect(clippy::print_stdout, reason = "the line is the protocol between a test and its runner")]
pub fn skipped(name: &str, reason: impl Display) {
    println!("skipped: {name}: {reason}");
}
