//! How many there may be.

/// Pages that 32 bits number: 16 TiB of RAM.
pub const MAX_NUMBERED_PAGES: u64 = u32::MAX as u64;

/// Most pages of one run of a page list: 64 GiB.
pub const MAX_RUN_PAGES: u32 = 1 << 24;

// The memory that the library in QEMU shares with the host's program has room for so much of a skip set.
/// Most pages of a set: 1 TiB of RAM.
pub const MAX_SET_PAGES: u32 = 1 << 28;
/// Most runs of a set.
pub const MAX_SET_RUNS: usize = 1 << 24;
/// Most RAM blocks of a set.
pub const MAX_SET_BLOCKS: usize = 32;
/// Pages at the start of the first block that keep QEMU from the switchover while it is throttled: those below 1 MiB,
/// which no set has.
pub const MAX_THROTTLE_PAGES: u32 = 256;
