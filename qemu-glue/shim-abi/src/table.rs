//! The set as it lies in the file.

/// Bytes of a block's name with its terminating zero (`idstr` of `RAMBlock`, QEMU's
/// include/exec/ramblock.h, the same in 5.1 to 11.1).
pub const BLOCK_NAME_BYTES: usize = 256;

/// A RAM block that runs point into.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BlockEntry {
    /// QEMU's id of it, ended by a zero.
    pub name: [u8; BLOCK_NAME_BYTES],
    /// Used length in bytes, as the host knows it.
    pub length: u64,
}

/// Pages of one block that follow each other there and in the set.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunEntry {
    /// Offset of the first page in the block, in bytes.
    pub offset: u64,
    /// Number of the first page in the set.
    pub first: u32,
    /// Number of pages, at least 1.
    pub pages: u32,
    /// Index of the block.
    pub block: u32,
    /// 0.
    pub reserved: u32,
}
