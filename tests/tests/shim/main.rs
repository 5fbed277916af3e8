//! The library inside real QEMUs: what it skips, what it re-dirties, and that QEMU runs as if it were
//! not there whenever anything is wrong.
//!
//! | module | what it holds against what |
//! |---|---|
//! | [`counts`] | pages that QEMU sends against the set; RAM of both sides, byte by byte |
//! | [`one_shot`] | migrations and snapshots that nobody armed against stock ones |
//! | [`refusals`] | sets, settings and times that are wrong |
//! | [`throttle`] | the throttle, which keeps QEMU from the switchover, and its end |
//! | [`failures`] | migrations that end early, and the next one |
//! | [`loading`] | the ways in, and QEMUs that the library cannot work in |
//!
//! The guest is a boot sector (`guest.s`); guest code runs on TCG.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod counts;
mod failures;
mod guest;
mod lab;
mod loading;
mod migration;
mod one_shot;
mod refusals;
mod sets;
mod throttle;
mod vm;
