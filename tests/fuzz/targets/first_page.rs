//! What a hostile data directory and a hostile kernel may say of files and devices.
#![no_main]

use libfuzzer_sys::fuzz_target;
use userspace::locate::fuzzing;

fuzz_target!(|bytes: &[u8]| {
    fuzzing::first_page(bytes);
    fuzzing::checksum(bytes);
    fuzzing::device_table(bytes);
    fuzzing::mounts(&String::from_utf8_lossy(bytes));
});
