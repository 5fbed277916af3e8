//! Whole migrations between real QEMUs, driven by the source's side, with the destination's side, the
//! library and a storage file beside them. The guest is a boot sector; its page list is written by the
//! test, so that it can be right or wrong in any way.
//!
//! | module | what it holds against what |
//! |---|---|
//! | [`whole`] | RAM of both sides byte by byte, pages against what the list and the storage had |
//! | [`faults`] | each part failing in each phase: RAM identity where it completes, else a VM that runs on |
//! | [`driver`] | the program at the source killed: the VM runs on, its next migration works |
//! | [`seam`] | somebody else sends QEMU `migrate` and `migrate_cancel` |
//! | [`stopped`] | somebody else stops the VM while its pages are skipped: QEMU sends them at once |
//! | [`teeth`] | what happens when hashes are taken before the hint |
//! | [`stalled`] | outputs that nobody reads: deadline and signals hold, QEMU gets the user's limits back |
//! | [`hostile`] | the memory of the host's program, with guests whose figures would take much |
//! | [`disks`] | two disks at the destination, one of which stalls: storage brings all of the other |
//! | [`limits`] | the user's limits before and after; what a driver that was killed leaves behind |
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]
#![expect(clippy::print_stdout, reason = "figures of a test, shown by `cargo xtask test`")]

#[path = "../shim/guest.rs"]
mod guest;
#[path = "../shim/lab.rs"]
mod lab;
#[path = "../observe/stall.rs"]
#[expect(dead_code, reason = "what the observer's tests alone want")]
mod stall;
#[path = "../shim/vm.rs"]
#[expect(dead_code, reason = "what the library's tests alone want")]
mod vm;

mod agent;
mod disks;
mod driver;
mod faults;
mod fixture;
mod hostile;
mod limits;
mod seam;
mod stalled;
mod stopped;
mod teeth;
mod whole;
