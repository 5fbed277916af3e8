//! Ranges, locations and expressions that do not end, or lead nowhere.

use super::super::Collection;
use super::super::dwarf::{
    FRAME_BASE, HIGH_PC, LOCATION, LOW_PC, MEMBER_LOCATION, RANGES, SEC_OFFSET, leb,
};
use super::super::elf::Section;
use super::super::model::{FUNCTIONS, unit, with};

pub(super) fn add(files: &mut Collection) {
    let wild: [Vec<u8>; 9] = [
        Vec::new(),
        vec![0; 16],
        vec![0xff; 64],
        vec![0xff; 7],
        // Another base each time, and never an end.
        [[0xff; 8], [0x11; 8]].concat().repeat(500),
        [1_u64.to_le_bytes(), u64::MAX.to_le_bytes()].concat().repeat(500),
        [u64::MAX.to_le_bytes(), 1_u64.to_le_bytes()].concat(),
        // Lists of DWARF 5: by index, with offsets, of every kind.
        (0..9).flat_map(|kind| [kind, 0x7f, 0x7f, 0x7f]).collect(),
        [&[0x20, 0, 0, 0, 5, 0, 8, 0][..], &[0xff; 4], &[4; 40]].concat(),
    ];
    files.kind("ranges");
    for content in &wild {
        for (section, version) in [(".debug_ranges", 4), (".debug_rnglists", 5)] {
            let mut unit = unit();
            unit.version = version;
            unit.root.change(FUNCTIONS[1], |entry| {
                entry.without(LOW_PC).without(HIGH_PC).raw(RANGES, SEC_OFFSET, &[0; 4])
            });
            let mut elf = with(&unit);
            elf.put(Section::new(section, content.clone()));
            files.add(elf.bytes());
        }
    }
    files.kind("locations");
    for content in &wild {
        for (section, version) in [(".debug_loc", 4), (".debug_loclists", 5)] {
            let mut unit = unit();
            unit.version = version;
            unit.root.change("inlined", |entry| {
                let mut entry = entry;
                let parameter = entry.children[0].clone().without(LOCATION);
                entry.children[0] = parameter.raw(LOCATION, SEC_OFFSET, &[0; 4]);
                entry
            });
            let mut elf = with(&unit);
            elf.put(Section::new(section, content.clone()));
            files.add(elf.bytes());
        }
    }
    files.kind("expression");
    let expressions: [Vec<u8>; 12] = [
        Vec::new(),
        // A jump onto itself, and one out of the expression.
        vec![0x2f, 0xfd, 0xff],
        vec![0x2f, 0xff, 0x7f],
        vec![0x91],
        vec![0x91, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1],
        vec![0x90, 0xff, 0xff, 0xff, 0xff, 0x0f],
        vec![0x9e, 0xff, 0xff, 0xff, 0x7f],
        vec![0xa3, 0xff, 0x7f],
        vec![0x96; 2000],
        vec![0x98, 0, 0, 0x9a, 0, 0, 0, 0],
        vec![0xe0, 0xff],
        [&[0x92][..], &leb(0xffff), &[0x7f]].concat(),
    ];
    for expression in &expressions {
        for (label, attribute) in [("first", LOCATION), (FUNCTIONS[1], FRAME_BASE)] {
            let mut unit = unit();
            unit.root
                .change(label, |entry| entry.without(attribute).expression(attribute, expression));
            files.add(with(&unit).bytes());
        }
        let mut unit = unit();
        unit.root.change("buf_page_t", |mut entry| {
            let member = entry.children[0].clone().without(MEMBER_LOCATION);
            entry.children[0] = member.expression(MEMBER_LOCATION, expression);
            entry
        });
        files.add(with(&unit).bytes());
    }
}
