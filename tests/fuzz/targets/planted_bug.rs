//! Not a parser of ours: a bug behind five bytes, which a fuzzer finds only if it sees which branches an input takes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut found = 0;
    for (byte, wanted) in bytes.iter().zip(b"frame") {
        if byte != wanted {
            return;
        }
        found += 1;
    }
    assert_ne!(found, 5, "the planted bug");
});
