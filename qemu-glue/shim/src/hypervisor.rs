//! What the engine needs of QEMU; tests have another one.

use core::ffi::CStr;

/// A RAM block that QEMU has, as its functions describe it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RamBlock {
    /// Where its first byte is in this process.
    pub(crate) host: *mut u8,
    /// Bytes in use.
    pub(crate) length: u64,
    /// Bytes of the pages that it consists of.
    pub(crate) page_bytes: u64,
    /// Whether other processes can map it.
    pub(crate) shared: bool,
    /// Whether it is part of the migration stream.
    pub(crate) migratable: bool,
}

/// Functions of QEMU, called on its main or migration thread with the big lock held.
pub(crate) trait Hypervisor {
    /// The first setting of the migration that forbids a skip: index in [`shim_abi::SETTINGS`].
    fn clash(&self) -> Option<u64>;

    /// Whether the VM runs.
    fn is_running(&self) -> bool;

    /// The RAM block of this name.
    fn block(&self, name: &CStr) -> Option<RamBlock>;

    /// Takes pages out of what the migration has to send. They must lie within `block`.
    fn hint(&self, block: &RamBlock, offset: u64, bytes: u64);

    /// Marks pages as written, so that the next sync takes them up. They must lie within `block`.
    fn mark_dirty(&self, block: &RamBlock, offset: u64, bytes: u64);

    /// ns of `CLOCK_MONOTONIC`.
    fn now(&self) -> u64;
}
