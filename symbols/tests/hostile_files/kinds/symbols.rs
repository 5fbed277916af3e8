//! Symbol tables that lie about where functions are, how long they are and how they are called.

use super::super::Collection;
use super::super::elf::{BASE, SYMTAB, Section};
use super::super::model::{FUNCTIONS, model, symbol, without};

pub(super) fn add(files: &mut Collection) {
    files.kind("symbols");
    let text = without().address(".text");
    // One symbol of each function, all wrong in the same way.
    let lies: [(u8, u16, u64, u64); 14] = [
        (0x12, 1, 0, 32),
        (0x12, 1, u64::MAX, 32),
        (0x12, 1, text, u64::MAX),
        (0x12, 1, text, 1 << 20),
        (0x12, 1, text, 0),
        (0x12, 1, text + 1, 31),
        (0x12, 1, BASE, 32),
        (0x12, 0, text, 32),
        (0x12, 0xfff1, text, 32),
        (0x12, 0xffff, text, 32),
        (0x1a, 1, text, 32),
        (0x10, 1, text, 32),
        (0x16, 1, text, 32),
        (0xff, 0xff00, text, 32),
    ];
    for (info, section, value, size) in lies {
        for stripped in [false, true] {
            let mut elf = if stripped { without() } else { model() };
            let strings = elf.section(".strtab").content.clone();
            let named = FUNCTIONS
                .iter()
                .map(|name| symbol(place(&strings, name), info, section, value, size));
            let table: Vec<u8> =
                [symbol(0, 0, 0, 0, 0)].into_iter().chain(named).flatten().collect();
            elf.section(".symtab").content = table.clone();
            elf.section(".dynsym").content = table;
            files.add(elf.bytes());
        }
    }
    // Names: none, outside of the strings, without an end, of half a megabyte, of terminals.
    for name in [u32::MAX, 0x7fff_ffff, 1, 3] {
        let mut elf = without();
        elf.section(".symtab").content = symbol(name, 0x12, 1, text, 32).repeat(50);
        files.add(elf.bytes());
    }
    for suffix in ["", ".cold", ".isra.0.part.1", ".\u{1b}[2J", "."] {
        let mut elf = model();
        let mut strings = elf.section(".strtab").content.clone();
        let at = u32::try_from(strings.len()).unwrap_or(0);
        strings.extend_from_slice(format!("{}{suffix}", FUNCTIONS[1]).as_bytes());
        elf.section(".strtab").content = strings;
        let clones: Vec<u8> =
            (0..600).flat_map(|number| symbol(at, 0x12, 1, text + number, 32)).collect();
        elf.section(".symtab").content.extend(clones);
        files.add(elf.bytes());
    }
    // Two tables, one without strings, one that is its own strings, sizes that are no multiple.
    let mut elf = model();
    elf.sections.push(Section { kind: SYMTAB, ..Section::new(".symtab", vec![0x41; 25]) });
    files.add(elf.bytes());
    for link in ["", ".symtab", ".text", ".debug_info"] {
        let mut elf = without();
        elf.section(".symtab").link = link;
        files.add(elf.bytes());
        let mut elf = model();
        elf.section(".dynsym").link = link;
        elf.remove(".symtab");
        files.add(elf.bytes());
    }
}

/// Where a name begins in a table of strings.
fn place(strings: &[u8], name: &str) -> u32 {
    let at = strings.windows(name.len()).position(|window| window == name.as_bytes());
    at.and_then(|at| u32::try_from(at).ok()).unwrap_or(0)
}
