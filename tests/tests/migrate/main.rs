//! Migrations of a small VM with a busy MySQL, each with the RAM of both sides compared byte by byte.
//!
//! | module | what |
//! |---|---|
//! | [`plain`] | stock, postcopy and Poolferry; idle, reading, writing |
//! | [`teeth`] | the comparison finds what it must find |
//! | [`programs`] | a program of Poolferry's dies in each phase |
//! | [`agent`] | the guest's agent is missing, dies |
//! | [`doctor`] | what is reported before a migration, at both hosts |
//! | [`storage`] | storage at the destination is missing, old, broken, stalled |
//! | [`dynamics`] | links change their rate or are too slow, storage stops and comes back |
//! | [`hosts`] | the destination's QEMU dies, the link breaks, the user interrupts; the next migration works |
//! | [`paper`] | the whole evaluation, in its small form |
//! | [`results`] | no space for the record; a baseline that fails |
//! | [`servers`] | MariaDB |
//! | [`tables`] | tables are dropped, truncated and made meanwhile |
//! | [`again`] | the destination's QEMU got `migrate-incoming` before, or takes a stream already; small VMs of its own |
//!
//! One VM serves all tests: it goes to and fro between two hosts. After a test that failed another is booted.
#![expect(clippy::print_stdout, reason = "what became of a VM, shown by `cargo xtask test`")]

mod again;
mod agent;
mod doctor;
mod dynamics;
mod hosts;
mod paper;
mod plain;
mod programs;
mod results;
mod servers;
mod shared;
mod storage;
mod tables;
mod teeth;
