//! Files with holes, with sections that lie in each other, cut short, or with more of something than any program has.

use super::super::Collection;
use super::super::elf::{Section, Written};
use super::super::model::model;

/// Length of a hole: read in some ten milliseconds.
const HOLE: u64 = 4 << 20;
/// Sections that are read.
const READ: [&str; 9] = [
    ".text",
    ".rodata",
    ".symtab",
    ".strtab",
    ".dynsym",
    ".eh_frame",
    ".debug_info",
    ".debug_abbrev",
    ".note.gnu.build-id",
];

pub(super) fn add(files: &mut Collection) {
    let honest = model().written();
    let end = honest.bytes.len() as u64;
    let changed = |changes: &[(&str, &str, u64)]| {
        let mut file: Written = honest.clone();
        changes.iter().for_each(|(section, field, value)| file.set_field(section, field, *value));
        file.bytes
    };
    files.kind("hole");
    for section in READ {
        files.add_with(
            changed(&[(section, "offset", end), (section, "size", HOLE)]),
            HOLE,
            Vec::new(),
        );
    }
    let mut file = honest.clone();
    file.set(40, 8, end);
    file.set(60, 2, 60_000);
    files.add_with(file.bytes, HOLE, Vec::new());

    files.kind("overlap");
    for section in READ {
        files.add(changed(&[(section, "offset", 0), (section, "size", end)]));
        let (at, len) =
            (honest.get_field(".debug_info", "offset"), honest.get_field(".debug_info", "size"));
        files.add(changed(&[(section, "offset", at), (section, "size", len)]));
    }
    let whole: Vec<_> =
        READ.iter().flat_map(|name| [(*name, "offset", 0), (*name, "size", end)]).collect();
    files.add(changed(&whole));

    files.kind("cut");
    for part in 0..20 {
        files.add(honest.bytes[..honest.bytes.len() * part / 20].to_vec());
    }

    files.kind("many");
    let mut elf = model();
    elf.sections.extend((0..2000).map(|_| Section::new(".debug_info", Vec::new())));
    files.add(elf.bytes());
    let mut elf = model();
    let version = |number: usize| format!("{}.6.{}\0", number % 7, number);
    elf.section(".rodata").content = (0..3000).map(version).collect::<String>().into_bytes();
    files.add(elf.bytes());
    for text in ["5.6.", "5.6.24-", "5.6.24\0", "\u{1b}[2J5.6.24", "5.6.99999"] {
        let mut elf = model();
        elf.section(".rodata").content = text.repeat(500).into_bytes();
        files.add(elf.bytes());
    }
}
