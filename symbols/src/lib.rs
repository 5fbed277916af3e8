//! From a database server's ELF and DWARF to a [`Profile`](profile::Profile).

pub mod addr;
pub mod debug_file;
pub mod elf;
pub mod profile;
pub mod reason;
