//! The source: what leaves the VM's memory behind and drives QEMU's migration.

pub mod hash;
pub mod plan;
