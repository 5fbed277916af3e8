//! `dest::receive` beside real QEMUs that wait for a migration; the test is the source.
//!
//! | module | what it holds against what |
//! |---|---|
//! | [`whole`] | the RAM that QEMU has afterwards; a stock migration through the URI that was sent |
//! | [`program`] | `poolferry-host receive`: keys, events, exit codes, signals |
//! | [`hostile`] | strangers, floods, replays, and sources that do nothing |
//! | [`keys`] | key files: made, taken, refused |
//! | [`refusals`] | QEMUs and offers that cannot be served, and that the migration still can be a stock one |
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]
#![expect(clippy::print_stdout, reason = "the line of a test that cannot run here")]

mod disks;
mod hostile;
mod keys;
#[path = "../hostile/middle.rs"]
mod middle;
mod program;
mod qemu;
mod refusals;
mod source;
mod whole;
