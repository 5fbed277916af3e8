//! Headers of the file, of its segments and of its sections with one field changed.

use super::super::Collection;
use super::super::elf::{HEADER, SEGMENT};
use super::super::model::model;
use super::odd;

pub(super) fn add(files: &mut Collection) {
    let honest = model().written();
    files.kind("header");
    for (_, at, len) in HEADER {
        for value in odd(honest.get(at, len), len) {
            let mut file = honest.clone();
            file.set(at, len, value);
            files.add(file.bytes);
        }
    }
    files.kind("segment");
    for index in 0..2 {
        for (_, at, len) in SEGMENT.iter().map(|(name, at, len)| (name, 64 + index * 56 + at, *len))
        {
            for value in odd(honest.get(at, len), len) {
                let mut file = honest.clone();
                file.set(at, len, value);
                files.add(file.bytes);
            }
        }
    }
    files.kind("section");
    for section in
        [".text", ".symtab", ".strtab", ".debug_info", ".debug_abbrev", ".eh_frame", ".rodata"]
    {
        for field in ["name", "type", "flags", "addr", "offset", "size", "link", "entsize"] {
            let (at, len) = honest.field(section, field);
            for value in &odd(honest.get(at, len), len)[1..] {
                let mut file = honest.clone();
                file.set(at, len, *value);
                files.add(file.bytes);
            }
        }
    }
}
