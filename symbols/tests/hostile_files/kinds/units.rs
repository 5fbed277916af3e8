//! Units that are cut short, abbreviations without an end, every form with any value, units of lines only.

use super::super::Collection;
use super::super::dwarf::{
    Entry, FLAG_PRESENT, LINES, LOCATION, LOW_PC, NAME, RANGES, SEC_OFFSET, SIZE, TAG_STRUCTURE,
    TAG_UNIT, TYPE, leb,
};
use super::super::elf::Section;
use super::super::model::{FUNCTIONS, model, unit, with};

/// Attributes that are read, each of an entry of the model.
const ATTRIBUTES: [(&str, u16); 7] = [
    ("buf_page_t", NAME),
    ("parameter", TYPE),
    ("parameter", LOCATION),
    (FUNCTIONS[1], LOW_PC),
    (FUNCTIONS[1], RANGES),
    ("buf_block_t", SIZE),
    ("unit", NAME),
];

pub(super) fn add(files: &mut Collection) {
    files.kind("unit");
    let sections = unit().sections();
    let mut put = |info: Vec<u8>, abbrev: Vec<u8>| {
        let mut elf = model();
        elf.section(".debug_info").content = info;
        elf.section(".debug_abbrev").content = abbrev;
        files.add(elf.bytes());
    };
    let (info, abbrev) = (sections.info, sections.abbrev);
    let len = u32::try_from(info.len()).unwrap_or(0);
    for length in [0, 1, 7, len - 5, len - 3, len / 2, 0xffff_ffef, 0xffff_fff0, u32::MAX] {
        put([&length.to_le_bytes()[..], &info[4..]].concat(), abbrev.clone());
    }
    for (at, values) in [
        (4, &[0, 1, 5, 6, 0xff][..]),
        (5, &[1]),
        (6, &[1, 0xff]),
        (9, &[0xff]),
        (10, &[0, 1, 4, 9]),
    ] {
        for value in values {
            let mut info = info.clone();
            info[at] = *value;
            put(info, abbrev.clone());
        }
    }
    for end in (0..12).chain([40, 200, info.len() - 1]) {
        put(info[..end].to_vec(), abbrev.clone());
    }
    // 64-bit lengths; type units and others of DWARF 5, with nothing behind their headers.
    put([&[0xff; 12][..], &info[4..]].concat(), abbrev.clone());
    for kind in [0, 2, 4, 5, 6, 0x80, 0xff] {
        put([&[9, 0, 0, 0, 5, 0, kind, 8, 0, 0, 0, 0, 1][..], &info].concat(), abbrev.clone());
    }
    put([&info[..12], &info].concat().repeat(50), abbrev.clone());
    put([8, 0, 0, 0, 4, 0, 0, 0, 0, 0, 8, 1].repeat(2000), vec![1, 0x11, 0, 0, 0, 0]);

    files_of_tables(files, &info, &abbrev);
    files_of_forms(files);
    files_of_lines(files);
}

fn files_of_tables(files: &mut Collection, info: &[u8], abbrev: &[u8]) {
    files.kind("abbreviations");
    let code = |code: u64, tag: u64, rest: &[u8]| [&leb(code)[..], &leb(tag), rest].concat();
    // A declaration of attributes that take no bytes.
    let endless =
        |count: usize| [&[1, 0x11, 0][..], &[0x03, 0x19].repeat(count), &[0, 0, 0]].concat();
    let tables: [Vec<u8>; 16] = [
        Vec::new(),
        vec![0],
        abbrev[..abbrev.len() / 2].to_vec(),
        abbrev[..abbrev.len() - 3].to_vec(),
        [abbrev, abbrev].concat(),
        [&abbrev[..abbrev.len() - 1], abbrev].concat(),
        code(1, 0x11, &[2, 0, 0, 0]),
        code(u64::MAX, 0x11, &[1, 0, 0, 0]),
        code(1, u64::MAX, &[1, 0, 0, 0]),
        code(1, 0, &[1, 0, 0, 0]),
        vec![0xff; 64],
        vec![0x80; 64],
        endless(255),
        endless(5000),
        [&[1, 0x11, 1][..], &[0x03, 0x21, 0x7f].repeat(500), &[0, 0, 0]].concat(),
        (1..2000).flat_map(|number| code(number, 0x13, &[1, 0, 0])).chain([0]).collect(),
    ];
    for table in tables {
        let mut elf = model();
        elf.section(".debug_info").content = info.to_vec();
        elf.section(".debug_abbrev").content = table;
        files.add(elf.bytes());
    }
    // Structures in structures that nobody ends.
    for (depth, tag) in [(500, TAG_STRUCTURE), (3000, TAG_STRUCTURE), (3000, 0x2e), (3000, 0x39)] {
        let mut content = vec![0; 4];
        content.extend_from_slice(&[4, 0, 0, 0, 0, 0, 8, 1]);
        content.extend([&[2][..], b"buf_page_t\0"].concat().repeat(depth));
        let len = u32::try_from(content.len() - 4).unwrap_or(0);
        content[..4].copy_from_slice(&len.to_le_bytes());
        let mut elf = model();
        elf.section(".debug_info").content = content;
        let nested = code(2, tag.into(), &[1, 3, 8, 0, 0]);
        // The unit is called by an attribute without bytes, so it is read for its lack of others.
        let unit = [&leb(1)[..], &[0x11, 1, 0x03, 0x19, 0, 0]].concat();
        elf.section(".debug_abbrev").content = [unit, nested, vec![0]].concat();
        files.add(elf.bytes());
    }
}

fn files_of_forms(files: &mut Collection) {
    files.kind("form");
    let known = (0x01..=0x2c).chain([0x1f01, 0x1f02, 0x1f20, 0x1f21, 0x2d, 0xffff]);
    for (form, number) in known.zip(0..) {
        let (label, attribute) = ATTRIBUTES[number % ATTRIBUTES.len()];
        for fill in [0xff, 0x00, 0x7f] {
            let mut unit = unit();
            unit.root
                .change(label, |entry| entry.without(attribute).raw(attribute, form, &[fill; 12]));
            files.add(with(&unit).bytes());
        }
    }
    let mut unit = unit();
    let many = |entry: Entry| (0..400).fold(entry, |entry, _| entry.raw(NAME, FLAG_PRESENT, &[]));
    unit.root.change("buf_page_t", many);
    files.add(with(&unit).bytes());
}

/// A program of lines of DWARF 4 (6.2.4), and what of it may be a lie.
fn lines() -> Vec<u8> {
    let mut header = vec![1, 1, 1, 0xfb, 14, 13];
    header.extend_from_slice(&[0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1]);
    header.extend_from_slice(b"include\0\0buf0buf.cc\0\x01\0\0\0");
    let program = [0, 9, 2, 0, 2, 0x40, 0, 0, 0, 0, 0, 0x13, 2, 4, 0, 1, 1];
    let header_len = u32::try_from(header.len()).unwrap_or(0);
    let len = header_len + 6 + u32::try_from(program.len()).unwrap_or(0);
    [&len.to_le_bytes()[..], &[4, 0], &header_len.to_le_bytes(), &header, &program].concat()
}

fn files_of_lines(files: &mut Collection) {
    files.kind("lines");
    let mut put = |lines: Vec<u8>, offset: u32| {
        let mut unit = unit();
        let root = Entry::new(TAG_UNIT).text(NAME, "buf0buf.cc");
        unit.root = root.raw(LINES, SEC_OFFSET, &offset.to_le_bytes());
        let mut elf = with(&unit);
        elf.put(Section::new(".debug_line", lines));
        files.add(elf.bytes());
    };
    let honest = lines();
    put(honest.clone(), 0);
    put(honest.clone(), u32::MAX);
    put(honest.clone(), 40);
    // Length, version, length of the header, instructions at once, range of a line, first code.
    for (at, value) in [
        (0, 0xff),
        (3, 0xff),
        (4, 0),
        (4, 5),
        (4, 9),
        (6, 0xff),
        (9, 0xff),
        (11, 0),
        (14, 0),
        (15, 0),
        (15, 0xff),
    ] {
        let mut lines = honest.clone();
        lines[at] = value;
        put(lines, 0);
    }
    for end in [0, 3, 6, 10, 20, 40] {
        put(honest[..end].to_vec(), 0);
    }
    // Of DWARF 5: formats of folders and files that take no bytes, and as many of them as fit in a number.
    let head = [5, 0, 8, 0, 0x40, 0, 0, 0, 1, 1, 1, 0xfb, 14, 2, 0];
    for rest in [
        &[0, 0xff, 0xff, 0xff, 0x7f, 0, 0xff, 0xff, 0xff, 0x7f][..],
        &[1, 1, 0x19, 0xff, 0xff, 0x7f],
        &[0xff, 1, 8],
    ] {
        put([&0x60_u32.to_le_bytes()[..], &head, rest, &[0; 0x60]].concat(), 0);
    }
}
