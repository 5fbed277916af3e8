//! The parsers of foreign bytes, for the fuzzer; not part of any other build.

use super::{device_mapper, mounts};

/// A device-mapper table as the kernel returns it.
pub fn device_table(bytes: &[u8]) {
    let count = bytes.first().copied().unwrap_or(0);
    let _ = device_mapper::parse(bytes, count.into());
}

/// A `mountinfo`.
pub fn mounts(text: &str) {
    mounts::read_all(text.as_bytes());
}
