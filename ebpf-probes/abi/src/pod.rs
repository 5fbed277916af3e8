//! `aya::Pod` for every type that is a map value or a global.
#![expect(unsafe_code, reason = "Pod is an unsafe trait")]

use crate::qemu::CallCounters;
use crate::{
    ChunkRange, Control, Entry, Histogram, KernelLayout, ProbeCounters, Record, Region,
    ServerLayout, WalkTarget, WordRange,
};

macro_rules! pod {
    ($($type:ty),* $(,)?) => {$(
        // SAFETY: `repr(C)`, integers only, no padding (sizes are asserted in lib.rs and qemu.rs).
        unsafe impl aya::Pod for $type {}
    )*};
}

pod!(
    CallCounters,
    ChunkRange,
    Control,
    ProbeCounters,
    Entry,
    Histogram,
    WordRange,
    KernelLayout,
    Record,
    Region,
    ServerLayout,
    WalkTarget
);
