//! The engine with a QEMU that is made up, and a shared file that is real.

mod accounts;
mod bench;
mod refusals;
mod states;
mod table;

pub(crate) use bench::{BLOCK_PAGES, Bench};
