//! `aya::Pod` for every type that is a map value or a global.
#![expect(unsafe_code, reason = "Pod is an unsafe trait")]

use crate::qemu::CallCounters;
use crate::{
    Chunk, Condition, Control, Counters, Entry, Histogram, KernelLayout, Record, Region,
    ServerLayout, Target,
};

macro_rules! pod {
    ($($type:ty),* $(,)?) => {$(
        // SAFETY: `repr(C)`, integers only, no padding (sizes are asserted in lib.rs and qemu.rs).
        unsafe impl aya::Pod for $type {}
    )*};
}

pod!(
    CallCounters,
    Chunk,
    Control,
    Counters,
    Entry,
    Histogram,
    Condition,
    KernelLayout,
    Record,
    Region,
    ServerLayout,
    Target
);
