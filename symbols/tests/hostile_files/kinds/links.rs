//! Links to other files: debug files, alternates, split units; to nothing, to the program itself, to what strangers wrote.

use super::super::dwarf::{
    COMP_DIR, DWO_NAME, Entry, NAME, SKELETON, SPLIT as SPLIT_UNIT, Sections, TAG_SKELETON,
    TAG_UNIT,
};
use super::super::elf::Section;
use super::super::model::{build_id, model, unit, with, without};
use super::super::{ALTERNATE, Collection, DEBUG, SPLIT};

/// Id of the split units.
const ID: u64 = 0x0123_4567_89ab_cdef;

pub(super) fn add(files: &mut Collection) {
    files.kind("build-id");
    let id = |words: [u32; 3], rest: &[u8]| {
        [words.iter().flat_map(|word| word.to_le_bytes()).collect(), rest.to_vec()].concat()
    };
    for len in [0, 1, 2, 64, 65, 300] {
        let mut elf = without();
        elf.section(".note.gnu.build-id").content = build_id(&vec![0x11; len]);
        files.add(elf.bytes());
    }
    for words in
        [[u32::MAX, 20, 3], [4, u32::MAX, 3], [0, 0, 0], [u32::MAX, u32::MAX, u32::MAX], [3, 19, 3]]
    {
        let mut elf = without();
        elf.section(".note.gnu.build-id").content = id(words, b"GNU\0aaaaaaaaaaaaaaaaaaaa");
        files.add(elf.bytes());
    }
    for end in [0, 3, 11, 12, 15, 17] {
        let mut elf = model();
        elf.section(".note.gnu.build-id").content.truncate(end);
        files.add(elf.bytes());
    }

    files.kind("debug-link");
    let crc = [&[1, 2, 3, 4][..]];
    let names: [&[u8]; 9] = [
        b"side.debug\0\0",
        b"side.debug",
        b"\0\0\0\0",
        b"../../etc/shadow\0\0\0\0",
        b"/dev/zero\0\0\0",
        b".\0\0\0",
        b"..\0\0",
        b"\x1b[2J\r\n\xe2\x80\xae\0\0\0",
        &[b'x'; 5000],
    ];
    for name in names {
        for id in [true, false] {
            let mut elf = without();
            if !id {
                elf.remove(".note.gnu.build-id");
            }
            elf.put(Section::new(".gnu_debuglink", [name, crc[0]].concat()));
            files.add_with(elf.bytes(), 0, vec![(DEBUG, model().bytes())]);
        }
    }
    beside(files);
    alternates(files);
    splits(files);
}

/// A program without debug information, with a debug file of its build that is hostile itself.
fn beside(files: &mut Collection) {
    files.kind("debug-file");
    let mut program = without();
    program.put(Section::new(".gnu_debuglink", b"side.debug\0\0\0\0\0\0".to_vec()));
    let honest = model().written();
    let end = honest.bytes.len() as u64;
    let changed = |section: &str, field: &str, value| {
        let mut file = honest.clone();
        file.set_field(section, field, value);
        file.bytes
    };
    let mut recursive = model();
    recursive.put(Section::new(".gnu_debuglink", b"side.debug\0\0\0\0\0\0".to_vec()));
    recursive.put(Section::new(".gnu_debugaltlink", b"side.debug\0\xab\xab".to_vec()));
    for debug in [
        honest.bytes.clone(),
        without().bytes(),
        recursive.bytes(),
        changed(".debug_info", "size", end),
        changed(".debug_abbrev", "size", 4),
        changed(".symtab", "offset", 0),
        changed(".text", "type", 8),
        honest.bytes[..honest.bytes.len() / 2].to_vec(),
        b"\x7fELF".to_vec(),
        Vec::new(),
    ] {
        files.add_with(program.bytes(), 0, vec![(DEBUG, debug)]);
    }
}

fn alternates(files: &mut Collection) {
    files.kind("alternate");
    let id = [0xab; 20];
    for name in
        ["side.alt", "", "/", "/proc/self/mem", "/dev/zero", "../side.alt", "\u{1b}]0;x\u{7}"]
    {
        for debug in [model().bytes(), without().bytes(), b"\x7fELF".to_vec()] {
            let mut elf = model();
            let content = [name.as_bytes(), &[0], &id].concat();
            elf.put(Section::new(".gnu_debugaltlink", content));
            files.add_with(elf.bytes(), 0, vec![(ALTERNATE, debug)]);
        }
    }
    for content in [&b""[..], b"x", b"side.alt\0", b"side.alt\0\x01", &[0xff; 70]] {
        let mut elf = model();
        elf.put(Section::new(".gnu_debugaltlink", content.to_vec()));
        files.add(elf.bytes());
    }
}

/// Skeletons of DWARF 5, and the units that they leave to other files.
fn splits(files: &mut Collection) {
    files.kind("split");
    let skeleton = |name: &str, folder: &str| {
        let mut unit = unit();
        (unit.version, unit.kind, unit.id) = (5, SKELETON, Some(ID));
        unit.root = Entry::new(TAG_SKELETON).text(DWO_NAME, name).text(COMP_DIR, folder);
        with(&unit)
    };
    let part = |id: u64, version: u16| {
        let mut unit = unit();
        (unit.version, unit.kind, unit.id) = (version, SPLIT_UNIT, Some(id));
        let Sections { info, abbrev } = unit.sections();
        let mut elf = without();
        elf.put(Section::new(".debug_info.dwo", info));
        elf.put(Section::new(".debug_abbrev.dwo", abbrev));
        elf
    };
    let name = "buf0buf.cc.dwo";
    for (name, folder) in [
        (SPLIT, "/"),
        ("/dev/zero", "/"),
        ("../../../../../etc/shadow", "/"),
        ("", ""),
        (name, "/proc/self/fd"),
        ("x\r\n", "/"),
    ] {
        files.add_with(skeleton(name, folder).bytes(), 0, vec![(SPLIT, part(ID, 5).bytes())]);
    }
    let program = skeleton("buf0buf.cc.dwo", "/nowhere").bytes();
    let mut cut = part(ID, 5);
    cut.section(".debug_info.dwo").content.truncate(90);
    let mut offsets = part(ID, 5);
    offsets.put(Section::new(".debug_str_offsets.dwo", vec![0xff; 40]));
    let mut package = without();
    package.put(Section::new(".debug_cu_index", index(1, 0x7fff_ffff)));
    let mut small = without();
    small.put(Section::new(".debug_cu_index", index(3, 2)));
    let mut nested = Entry::new(TAG_UNIT).text(NAME, "buf0buf.cc");
    nested = nested.text(DWO_NAME, "buf0buf.cc.dwo");
    let mut again = part(ID, 5);
    let mut loops = unit();
    (loops.version, loops.kind, loops.id, loops.root) = (5, SKELETON, Some(ID), nested);
    again.section(".debug_info.dwo").content.extend(loops.sections().info);
    for (file, bytes) in [
        ("buf0buf.cc.dwo", part(ID, 5).bytes()),
        ("buf0buf.cc.dwo", part(ID + 1, 5).bytes()),
        ("buf0buf.cc.dwo", part(ID, 4).bytes()),
        ("buf0buf.cc.dwo", cut.bytes()),
        ("buf0buf.cc.dwo", offsets.bytes()),
        ("buf0buf.cc.dwo", again.bytes()),
        ("buf0buf.cc.dwo", program.clone()),
        ("mysqld.dwp", package.bytes()),
        ("mysqld.dwp", small.bytes()),
    ] {
        files.add_with(program.clone(), 0, vec![(file, bytes)]);
    }
}

/// The index of a package (DWARF 5, 7.3.5.3) of one unit, in `slots` places.
fn index(columns: u32, slots: u32) -> Vec<u8> {
    let head = [5, columns, 1, slots];
    let mut bytes: Vec<u8> = head.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
    bytes.extend_from_slice(&ID.to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend(
        [1, 0, 1, 3, 8, 0, 0, 0, u32::MAX, 4].iter().flat_map(|word: &u32| word.to_le_bytes()),
    );
    bytes
}
