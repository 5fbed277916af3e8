//! Unwind tables that lie about where functions begin: what proves a site in a stripped program.

use super::super::Collection;
use super::super::elf::{Elf, SYMTAB};
use super::super::model::without;

pub(super) fn add(files: &mut Collection) {
    // Only the exported function has a name.
    let stripped = || {
        let mut elf = without();
        elf.remove(".symtab");
        let dynamic = elf.section(".dynsym");
        dynamic.content.truncate(2 * 24);
        debug_assert_ne!(dynamic.kind, SYMTAB);
        elf
    };
    files.kind("unwind-index");
    files.add(stripped().bytes());
    let mut put = |change: &dyn Fn(&mut Elf)| {
        let mut elf = stripped();
        change(&mut elf);
        files.add(elf.bytes());
    };
    let word = |bytes: &mut [u8], at: usize, value: u32| {
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes())
    };
    let index = ".eh_frame_hdr";
    for (at, values) in [
        (0, &[0, 2, 0xff][..]),
        (1, &[0x00, 0x03, 0x0b, 0x3b, 0x50, 0x80, 0x9b, 0xff]),
        (2, &[0x00, 0x01, 0x09, 0x0c, 0x1b, 0xff]),
        (3, &[0x00, 0x01, 0x0b, 0x1b, 0x33, 0x3c, 0x4b, 0xbb, 0xff]),
    ] {
        for value in values {
            put(&|elf| elf.section(index).content[at] = *value);
        }
    }
    for (at, values) in [
        (4, &[0, 1, 4, u32::MAX, 0x8000_0000][..]),
        (8, &[0, 1, 5, 0x7fff_ffff, u32::MAX]),
        (12, &[0, 1, u32::MAX, 0x8000_0000]),
        (16, &[0, 1, u32::MAX, 0x7fff_ffff]),
        (20, &[0, u32::MAX]),
        (24, &[0, 4, u32::MAX]),
    ] {
        for value in values {
            put(&|elf| word(&mut elf.section(index).content, at, *value));
        }
    }
    for end in [0, 1, 4, 8, 11, 12, 15, 20, 43] {
        put(&|elf| elf.section(index).content.truncate(end));
    }
    files.kind("unwind-table");
    let mut put = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut elf = stripped();
        change(&mut elf.section(".eh_frame").content);
        files.add(elf.bytes());
    };
    // The common part: length, id, version, augmentation, encoding.
    for (at, values) in [
        (3, &[0xff][..]),
        (4, &[1]),
        (8, &[0, 2, 3, 4, 0xff]),
        (9, &[b'P', b'L', b'S', b'x', 0]),
        (10, &[b'P', b'L', b'B', 0]),
        (12, &[0x80]),
        (15, &[0, 0x7f, 0xff]),
        (16, &[0x00, 0x03, 0x0c, 0x2b, 0x50, 0x9b, 0xff]),
        (17, &[0x0f, 0x16, 0x2e, 0x3f]),
    ] {
        for value in values {
            put(&|table| table[at] = *value);
        }
    }
    // The first function: length, way to the common part, start, length of the function.
    for (at, values) in [
        (24, &[0, 1, u32::MAX, 0xffff_fff0][..]),
        (28, &[0, 1, 4, 28, 29, u32::MAX]),
        (32, &[0, u32::MAX, 0x8000_0000]),
        (36, &[0, 1, u32::MAX]),
    ] {
        for value in values {
            put(&|table| word(table, at, *value));
        }
    }
    for end in [0, 3, 8, 23, 24, 30, 40] {
        put(&|table| table.truncate(end));
    }
    // The common part of a function is the function itself, and thousands of them that begin at the same place.
    put(&|table| {
        let first = table[24..44].to_vec();
        table.extend(first.repeat(1000));
    });
}
