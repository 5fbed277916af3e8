//! A hostile program and a hostile site in it: what is proven lies in the program and holds the bytes of the site.
#![no_main]

use std::fs::File;
use std::io::Write as _;

use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, memfd_create};
use symbols::addr::{FileOff, LinkAddr};
use symbols::profile::{Instruction, Site, SiteKind};
use symbols::text::ProgramText;

fuzz_target!(|input: (u64, u8, bool, u64, &[u8], &[u8])| {
    let (entry, way, inlined, file_offset, code, program) = input;
    let file = memfd_create("program", MemfdFlags::CLOEXEC).expect("a memfd can be made");
    let mut file = File::from(file);
    file.write_all(program).expect("a memfd takes what memory holds");
    let Ok(text) = ProgramText::of(file) else { return };
    let site = Site {
        function: String::from_utf8_lossy(&code[..code.len().min(8)]).into_owned(),
        entry: LinkAddr(entry),
        probe: LinkAddr(entry.wrapping_add(u64::from(way))),
        file_offset: FileOff(file_offset),
        instruction: Instruction::Emulated,
        code: symbols::elf::hex(code),
        text: String::new(),
        kind: if inlined { SiteKind::Inlined } else { SiteKind::Function },
        args: Vec::new(),
    };
    if let Ok(proven) = text.prove(&site) {
        let start = usize::try_from(proven.entry().0).expect("inside");
        assert_eq!(proven.probe().0 - proven.entry().0, u64::from(way));
        assert_eq!(&program[start..start + code.len()], code);
    }
});
