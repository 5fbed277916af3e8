//! `aya::Pod` for every type that is a map value or a global.
#![expect(unsafe_code, reason = "Pod is an unsafe trait")]

use crate::{
    Chunk, Control, Counters, Entry, Histogram, KernelLayout, Record, Region, ServerLayout, Target,
};

macro_rules! pod {
    ($($type:ty),* $(,)?) => {$(
        // SAFETY: `repr(C)`, integers only, no padding (sizes are asserted in lib.rs).
        unsafe impl aya::Pod for $type {}
    )*};
}

pod!(
    Chunk,
    Control,
    Counters,
    Entry,
    Histogram,
    KernelLayout,
    Record,
    Region,
    ServerLayout,
    Target
);
