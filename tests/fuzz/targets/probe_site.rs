//! A hostile program and a hostile site in it: what is proven lies in the program and holds the bytes of the site.
//! Its build id is looked for too.
#![no_main]

use std::fs::File;
use std::io::Write as _;

use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, memfd_create};
use symbols::addr::{FileOff, LinkAddr};
use symbols::profile::{Instruction, Site, SiteKind};
use symbols::text::ProgramText;

/// An input, as `probe_site_seeds` writes it: two addresses, four numbers of a byte, then name, code and program.
const HEAD: usize = 20;

fuzz_target!(|bytes: &[u8]| {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else { return };
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| head[at + byte]));
    let (entry, file_offset) = (number(0), number(8));
    let [way, inlined, name_bytes, code_bytes] = std::array::from_fn(|byte| head[16 + byte]);
    let (name, rest) = rest.split_at(rest.len().min(name_bytes.into()));
    let (code, program) = rest.split_at(rest.len().min(code_bytes.into()));
    let file = memfd_create("program", MemfdFlags::CLOEXEC).expect("a memfd can be made");
    let mut file = File::from(file);
    file.write_all(program).expect("a memfd takes what memory holds");
    let Ok(text) = ProgramText::of(file) else { return };
    let _ = text.build_id();
    let site = Site {
        function: String::from_utf8_lossy(name).into_owned(),
        entry: LinkAddr(entry),
        probe: LinkAddr(entry.wrapping_add(u64::from(way))),
        file_offset: FileOff(file_offset),
        instruction: Instruction::Emulated,
        code: symbols::elf::hex(code),
        text: String::new(),
        kind: if inlined & 1 == 1 { SiteKind::Inlined } else { SiteKind::Function },
        args: Vec::new(),
    };
    match text.prove(&site) {
        Ok(proven) => {
            let start = usize::try_from(proven.entry().0).expect("inside");
            assert_eq!(proven.probe().0 - proven.entry().0, u64::from(way));
            assert_eq!(&program[start..start + code.len()], code);
        }
        Err(error) => drop((error.to_string(), error.hint())),
    }
});
