//! The programs on QEMU's functions: what they write. Their attach cookie is the function's number.

/// Most functions that can be probed at once.
pub const MAX_FUNCTIONS: u32 = 32;

/// A call or a return of one function (24 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallRecord {
    /// CLOCK_MONOTONIC in ns.
    pub time_ns: u64,
    /// Number of the function, from the attach cookie.
    pub function: u32,
    /// One of [`edge`].
    pub edge: u32,
    /// Thread that called.
    pub tid: u32,
    /// Always zero.
    pub reserved: u32,
}

/// Which end of a call a record is about.
pub mod edge {
    /// The function was entered.
    pub const ENTRY: u32 = 0;
    /// It returned.
    pub const RETURN: u32 = 1;
}

/// Per-CPU counters of one function (24 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallCounters {
    /// Times it was entered.
    pub entries: u64,
    /// Times it returned.
    pub returns: u64,
    /// Records that did not fit into the ring.
    pub lost: u64,
}

const _: () = {
    assert!(size_of::<CallRecord>() == 24);
    assert!(size_of::<CallCounters>() == 24);
};
