//! Programs made to harm whoever looks at them. They are read by a process of ours without rights, so
//! what they can cost is known: some memory and time of that process, and one error.

#![expect(clippy::print_stdout, reason = "what was measured stands in the test's output")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as their tests do")]

mod generated;
#[path = "../../../symbols/tests/hostile_files/mod.rs"]
mod hostile_files;
mod kinds;
mod lab;
mod limits;
mod refused;
mod rights;
