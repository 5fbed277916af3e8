//! What a hostile data directory and a hostile kernel may say of files and devices.
#![no_main]

use libfuzzer_sys::fuzz_target;
use userspace::{locate, on_disk};

fuzz_target!(|bytes: &[u8]| {
    locate::fuzzing::first_page(bytes);
    locate::fuzzing::checksum(bytes);
    on_disk::fuzzing::device_table(bytes);
    on_disk::fuzzing::mounts(&String::from_utf8_lossy(bytes));
});
