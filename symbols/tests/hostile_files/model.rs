//! The honest file that all others begin as: the least that is a server of 5.6 with debug information.

use super::dwarf::{CONST_VALUE, DATA8};
use super::dwarf::{
    Entry, FRAME_BASE, HIGH_PC, LINKAGE_NAME, LOCATION, LOW_PC, MEMBER_LOCATION, NAME, ORIGIN,
    SIZE, Sections, TAG_BASE, TAG_ENUMERATION, TAG_ENUMERATOR, TAG_FUNCTION, TAG_INLINED,
    TAG_MEMBER, TAG_PARAMETER, TAG_POINTER, TAG_STRUCTURE, TAG_UNIT, TAG_VARIABLE, TYPE, Unit,
};
use super::elf::{DYNSYM, EH_FRAME, Elf, NOTE, STRTAB, SYMTAB, Section, Segment};

/// Functions, in the order of their code.
pub(crate) const FUNCTIONS: [&str; 4] = [
    "_Z16dispatch_command19enum_server_commandP3THDPcj",
    "_Z20buf_page_io_completeP10buf_page_t",
    "_Z32buf_flush_insert_into_flush_listP10buf_pool_tP11buf_block_tm",
    "_Z32buf_LRU_block_free_non_file_pageP11buf_block_t",
];
const GLOBALS: [&str; 5] = [
    "buf_pool_ptr",
    "srv_buf_pool_instances",
    "srv_page_size",
    "srv_page_size_shift",
    "srv_unix_file_flush_method",
];
const ENUMERATORS: [&str; 12] = [
    "BUF_IO_NONE",
    "BUF_IO_READ",
    "BUF_IO_WRITE",
    "COM_QUERY",
    "BUF_BLOCK_POOL_WATCH",
    "BUF_BLOCK_ZIP_PAGE",
    "BUF_BLOCK_ZIP_DIRTY",
    "BUF_BLOCK_NOT_USED",
    "BUF_BLOCK_READY_FOR_USE",
    "BUF_BLOCK_FILE_PAGE",
    "BUF_BLOCK_MEMORY",
    "BUF_BLOCK_REMOVE_HASH",
];
/// Structures with their members and what these are of.
const STRUCTURES: [(&str, &[(&str, &str)]); 6] = [
    ("page_zip_des_t", &[("data", "pointer")]),
    (
        "buf_page_t",
        &[
            ("space", "ulint"),
            ("offset", "ulint"),
            ("buf_fix_count", "ulint"),
            ("io_fix", "ulint"),
            ("state", "ulint"),
            ("newest_modification", "ulint"),
            ("oldest_modification", "ulint"),
            ("zip", "page_zip_des_t"),
        ],
    ),
    ("rw_lock_t", &[("lock_word", "ulint")]),
    ("buf_block_t", &[("page", "buf_page_t"), ("frame", "pointer"), ("lock", "rw_lock_t")]),
    ("buf_chunk_t", &[("size", "ulint"), ("mem", "pointer"), ("blocks", "pointer")]),
    ("buf_pool_t", &[("n_chunks", "ulint"), ("chunks", "pointer")]),
];

/// Length of each function in bytes.
pub(crate) const CODE_BYTES: usize = 32;
/// `push %rbp; mov %rsp,%rbp; push %r12; push %rbx; mov %rdi,%rbx; nop ...; pop ...; ret`.
const CODE: [u8; 12] = [0x55, 0x48, 0x89, 0xe5, 0x41, 0x54, 0x53, 0x48, 0x89, 0xfb, 0x90, 0x90];
const LEAVE: [u8; 5] = [0x5b, 0x41, 0x5c, 0x5d, 0xc3];

/// Length of the index of the unwind table in bytes.
const INDEX_BYTES: usize = 12 + 8 * FUNCTIONS.len();

/// The file.
pub(crate) fn model() -> Elf {
    with(&unit())
}

/// The file with other debug information.
pub(crate) fn with(unit: &Unit) -> Elf {
    let mut elf = without();
    let Sections { info, abbrev } = unit.sections();
    elf.put(Section::new(".debug_info", info));
    elf.put(Section::new(".debug_abbrev", abbrev));
    elf
}

/// The file without debug information.
pub(crate) fn without() -> Elf {
    let mut elf = Elf::default();
    let mut code = Vec::new();
    for _ in FUNCTIONS {
        code.extend_from_slice(&CODE);
        code.resize(code.len().next_multiple_of(CODE_BYTES) - LEAVE.len(), 0x90);
        code.extend_from_slice(&LEAVE);
    }
    elf.put(Section::new(".text", code));
    elf.put(Section::new(".rodata", b"5.6.24\0MySQL Community Server\0".to_vec()));
    elf.put(Section::new(".eh_frame_hdr", vec![0; INDEX_BYTES]));
    elf.put(Section::new(".eh_frame", Vec::new()));
    let note = Section { kind: NOTE, ..Section::new(".note.gnu.build-id", build_id(&[0xab; 20])) };
    elf.put(note);
    let (table, frames) = unwind(&elf);
    elf.section(".eh_frame_hdr").content = table;
    elf.section(".eh_frame").content = frames;
    elf.segments.push(Segment { kind: EH_FRAME, section: ".eh_frame_hdr" });
    let (symbols, strings) = symbols(&elf);
    let table = |name, kind, link, content| Section {
        kind,
        link,
        entry_bytes: 24,
        ..Section::new(name, content)
    };
    elf.put(table(".symtab", SYMTAB, ".strtab", symbols.clone()));
    elf.put(Section { kind: STRTAB, ..Section::new(".strtab", strings) });
    // As an executable that exports its functions: the one table, with the strings of the other.
    elf.put(table(".dynsym", DYNSYM, ".strtab", symbols));
    elf
}

/// The debug information: one unit of DWARF 4.
pub(crate) fn unit() -> Unit {
    let text = without().address(".text");
    let mut entries = vec![
        Entry::new(TAG_BASE).called("ulint").text(NAME, "ulint").number(SIZE, 8),
        Entry::new(TAG_POINTER).called("pointer").refer(TYPE, "ulint"),
    ];
    entries.extend(STRUCTURES.iter().map(|(name, members)| structure(name, members)));
    let named = ENUMERATORS.iter().zip(0..);
    let named = named.map(|(name, value)| {
        Entry::new(TAG_ENUMERATOR).text(NAME, name).number(CONST_VALUE, value)
    });
    entries.push(Entry::new(TAG_ENUMERATION).number(SIZE, 4).with(named.collect()));
    let place = |address: u64| [&[0x03][..], &address.to_le_bytes()].concat();
    entries.extend(GLOBALS.iter().zip(0..).map(|(name, number)| {
        let variable = Entry::new(TAG_VARIABLE).text(NAME, name).refer(TYPE, "ulint");
        variable.expression(LOCATION, &place(text + 8 * number))
    }));
    entries.extend(FUNCTIONS.iter().zip(0..).map(|(name, number)| function(name, text, number)));
    let root = Entry::new(TAG_UNIT).called("unit").text(NAME, "buf0buf.cc");
    let len = (FUNCTIONS.len() * CODE_BYTES) as u64;
    let root = root.address(LOW_PC, text).raw(HIGH_PC, DATA8, &len.to_le_bytes());
    Unit { version: 4, kind: 1, id: None, root: root.with(entries) }
}

fn structure(name: &'static str, members: &[(&str, &'static str)]) -> Entry {
    let member = |((name, kind), number): (&(&str, &'static str), u16)| {
        // Far enough apart for the largest.
        let member = Entry::new(TAG_MEMBER).text(NAME, name).refer(TYPE, kind);
        member.number(MEMBER_LOCATION, number * 64)
    };
    let members: Vec<Entry> = members.iter().zip(0..).map(member).collect();
    Entry::new(TAG_STRUCTURE).called(name).text(NAME, name).number(SIZE, 512).with(members)
}

fn function(name: &'static str, text: u64, number: u64) -> Entry {
    let start = text + number * CODE_BYTES as u64;
    // `DW_OP_fbreg -24`, counted from `DW_OP_call_frame_cfa`.
    let parameter = Entry::new(TAG_PARAMETER).called("parameter").refer(TYPE, "pointer");
    let mut children = vec![
        parameter.expression(LOCATION, &[0x91, 0x68]),
        Entry::new(TAG_PARAMETER).refer(TYPE, "pointer").expression(LOCATION, &[0x54]),
    ];
    if number == 3 {
        let inlined = Entry::new(TAG_INLINED).called("inlined").refer(ORIGIN, FUNCTIONS[1]);
        let inlined = inlined.address(LOW_PC, start + 10).raw(HIGH_PC, DATA8, &8_u64.to_le_bytes());
        let parameter = Entry::new(TAG_PARAMETER).refer(ORIGIN, "first");
        children.push(inlined.with(vec![parameter.expression(LOCATION, &[0x55])]));
    }
    if number == 1 {
        children[0].label = "first";
    }
    Entry::new(TAG_FUNCTION)
        .called(name)
        .text(LINKAGE_NAME, name)
        .address(LOW_PC, start)
        .raw(HIGH_PC, DATA8, &(CODE_BYTES as u64).to_le_bytes())
        .expression(FRAME_BASE, &[0x9c])
        .with(children)
}

/// `.note.gnu.build-id` (System V gABI, "Note Section").
pub(crate) fn build_id(id: &[u8]) -> Vec<u8> {
    let len = u32::try_from(id.len()).unwrap_or(u32::MAX);
    let mut note = [4_u32, len, 3].iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    note.extend_from_slice(b"GNU\0");
    note.extend_from_slice(id);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

/// One symbol (System V gABI, "Symbol Table").
pub(crate) fn symbol(name: u32, info: u8, section: u16, value: u64, size: u64) -> Vec<u8> {
    let mut bytes = name.to_le_bytes().to_vec();
    bytes.extend_from_slice(&[info, 0]);
    bytes.extend_from_slice(&section.to_le_bytes());
    bytes.extend_from_slice(&value.to_le_bytes());
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes
}

fn symbols(elf: &Elf) -> (Vec<u8>, Vec<u8>) {
    let (mut table, mut strings) = (symbol(0, 0, 0, 0, 0), vec![0]);
    let mut add = |name: &str, info, value, size| {
        let at = u32::try_from(strings.len()).unwrap_or(0);
        table.extend(symbol(at, info, 1, value, size));
        strings.extend_from_slice(name.as_bytes());
        strings.push(0);
    };
    let text = elf.address(".text");
    for (name, number) in FUNCTIONS.iter().zip(0..) {
        add(name, 0x12, text + number * CODE_BYTES as u64, CODE_BYTES as u64);
    }
    for (name, number) in GLOBALS.iter().zip(0..) {
        add(name, 0x11, text + number * 8, 8);
    }
    (table, strings)
}

/// Index and table (Linux Standard Base Core 5.0, 10.6).
fn unwind(elf: &Elf) -> (Vec<u8>, Vec<u8>) {
    let (text, index) = (elf.address(".text"), elf.address(".eh_frame_hdr"));
    let table = elf.address(".eh_frame");
    let near = |from: u64, to: u64| u32::try_from(to.wrapping_sub(from) & 0xffff_ffff).unwrap_or(0);
    let mut header = vec![1, 0x1b, 0x03, 0x3b];
    header.extend_from_slice(&near(index + 4, table).to_le_bytes());
    header.extend_from_slice(&u32::try_from(FUNCTIONS.len()).unwrap_or(0).to_le_bytes());
    // "zR", functions by addresses relative to their place; the frame is at %rsp + 8.
    let mut frames = 20_u32.to_le_bytes().to_vec();
    frames.extend_from_slice(&[0, 0, 0, 0, 1, b'z', b'R', 0, 1, 0x78, 16, 1, 0x1b]);
    frames.extend_from_slice(&[0x0c, 7, 8, 0x90, 1, 0, 0]);
    for number in 0..FUNCTIONS.len() as u64 {
        let (start, at) = (text + number * CODE_BYTES as u64, frames.len() as u64);
        header.extend_from_slice(&near(index, start).to_le_bytes());
        header.extend_from_slice(&near(index, table + at).to_le_bytes());
        frames.extend_from_slice(&16_u32.to_le_bytes());
        frames.extend_from_slice(&near(0, at + 4).to_le_bytes());
        frames.extend_from_slice(&near(table + at + 8, start).to_le_bytes());
        frames.extend_from_slice(&near(0, CODE_BYTES as u64).to_le_bytes());
        frames.extend_from_slice(&[0; 4]);
    }
    frames.extend_from_slice(&[0; 4]);
    (header, frames)
}
