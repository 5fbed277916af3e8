//! A VM as its host sees it: RAM blocks, where they stand in guest-physical memory, and disks.
//!
//! Guest-physical addresses come from the guest and mean nothing until [`GuestRam`] has turned them
//! into a block and an offset. It knows plain RAM from 1 MiB on only: below lie windows that firmware
//! maps at run time (PAM, SMRAM), and they are never worth the trouble.

mod data;
mod deadline;
pub mod disks;
mod error;
#[cfg(test)]
mod fake_qemu;
mod ram;

pub(crate) use data::data;
pub use error::GuestError;
pub use ram::{Clipped, GuestRam, RamBlock};

/// First guest-physical address that counts as RAM.
pub const LOWEST: page_number::Gpa = page_number::Gpa(1 << 20);
