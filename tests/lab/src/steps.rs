//! What a laboratory does, and how long each part of it takes, for people.

use std::time::Instant;

use anyhow::Result;

/// Prints a line.
#[expect(clippy::print_stdout, reason = "the laboratory prints what it does")]
pub fn print_line(line: &str) {
    println!("{line}");
}

/// Does `step` and prints its name and how long it took.
///
/// # Errors
/// What `step` returns.
pub fn step<T>(name: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
    let since = Instant::now();
    let done = step();
    let mark = if done.is_ok() { "" } else { "  FAILED" };
    print_line(&format!("{:8.1} s  {name}{mark}", since.elapsed().as_secs_f64()));
    done
}
