//! Hostile kernel type information.
#![no_main]

use libfuzzer_sys::fuzz_target;
use userspace::frames::Btf;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(btf) = Btf::parse(bytes) {
        let _ = btf.offset("task_struct", "mm");
        let _ = btf.offset("a", "b");
    }
});
