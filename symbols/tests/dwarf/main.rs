//! Layouts and sites of small servers, built here by the real compilers in many ways, against what
//! the compiler and a debugger say of them.

#![expect(clippy::print_stdout, reason = "what an error says stands in the test's output")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as their tests do")]

mod build;
#[path = "../common/mod.rs"]
mod common;

mod hostile;
mod identity;
mod layout;
mod odd_files;
mod proven;
mod refused;
mod sites;
mod stored;
