//! A hostile program and the files that it asks for: from their bytes to a profile, through ELF, DWARF and machine code, as the
//! process without rights reads them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memchr::memmem;

/// A file begins so; what comes before the first is of it too.
const MAGIC: &[u8] = b"\x7fELF";
/// Most files of an input; the last has the rest.
const FILES: usize = 4;

fuzz_target!(|bytes: &[u8]| {
    let more = memmem::find_iter(bytes, MAGIC).filter(|at| *at > 0).take(FILES - 1);
    let ends: Vec<usize> = more.chain([bytes.len()]).collect();
    let mut start = 0;
    let files: Vec<&[u8]> = ends.iter().map(|end| &bytes[std::mem::replace(&mut start, *end)..*end]).collect();
    match symbols::fuzzing::read(files[0], &files[1..]) {
        // What the process with the rights requires of an answer.
        Ok(profile) => profile.check().expect("a profile of its own is believed"),
        Err(error) => drop((error.to_string(), error.hint())),
    }
});
