//! An ELF file, written field by field, so that every field can be a lie (System V gABI, "Object Files").

/// Link address of the first byte of the file: one segment maps all of it.
pub(crate) const BASE: u64 = 0x40_0000;
/// Where the first section lies in the file, whatever the number of segments.
const FIRST: usize = 0x200;
/// Size of a header of a section.
const SECTION_BYTES: usize = 64;

pub(crate) const PROGBITS: u32 = 1;
pub(crate) const SYMTAB: u32 = 2;
pub(crate) const STRTAB: u32 = 3;
pub(crate) const NOTE: u32 = 7;
pub(crate) const DYNSYM: u32 = 11;
/// `SHF_COMPRESSED`.
pub(crate) const COMPRESSED: u64 = 1 << 11;

pub(crate) const LOAD: u32 = 1;
pub(crate) const EH_FRAME: u32 = 0x6474_e550;

/// Fields of the file's header: name, place, length in bytes.
pub(crate) const HEADER: [(&str, usize, usize); 15] = [
    ("class", 4, 1),
    ("data", 5, 1),
    ("type", 16, 2),
    ("machine", 18, 2),
    ("version", 20, 4),
    ("entry", 24, 8),
    ("phoff", 32, 8),
    ("shoff", 40, 8),
    ("flags", 48, 4),
    ("ehsize", 52, 2),
    ("phentsize", 54, 2),
    ("phnum", 56, 2),
    ("shentsize", 58, 2),
    ("shnum", 60, 2),
    ("shstrndx", 62, 2),
];
/// Fields of a section's header.
pub(crate) const SECTION: [(&str, usize, usize); 10] = [
    ("name", 0, 4),
    ("type", 4, 4),
    ("flags", 8, 8),
    ("addr", 16, 8),
    ("offset", 24, 8),
    ("size", 32, 8),
    ("link", 40, 4),
    ("info", 44, 4),
    ("addralign", 48, 8),
    ("entsize", 56, 8),
];
/// Fields of a segment's header.
pub(crate) const SEGMENT: [(&str, usize, usize); 8] = [
    ("type", 0, 4),
    ("flags", 4, 4),
    ("offset", 8, 8),
    ("vaddr", 16, 8),
    ("paddr", 24, 8),
    ("filesz", 32, 8),
    ("memsz", 40, 8),
    ("align", 48, 8),
];

#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) kind: u32,
    pub(crate) flags: u64,
    pub(crate) content: Vec<u8>,
    /// Name of the section that `sh_link` points to.
    pub(crate) link: &'static str,
    pub(crate) entry_bytes: u64,
}

impl Section {
    pub(crate) fn new(name: &str, content: Vec<u8>) -> Self {
        let name = name.to_owned();
        Self { name, kind: PROGBITS, flags: 0, content, link: "", entry_bytes: 0 }
    }
}

/// A segment beside the one that maps the file, over the section of that name.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) kind: u32,
    pub(crate) section: &'static str,
}

/// A file before its headers are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Elf {
    pub(crate) sections: Vec<Section>,
    pub(crate) segments: Vec<Segment>,
}

impl Elf {
    /// The section of that name; the model has it.
    pub(crate) fn section(&mut self, name: &str) -> &mut Section {
        let found = self.sections.iter_mut().find(|section| section.name == name);
        found.unwrap_or_else(|| panic!("the model has no {name}"))
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.sections.retain(|section| section.name != name);
    }

    /// Puts a section in the place of the one of its name, or adds it.
    pub(crate) fn put(&mut self, section: Section) {
        match self.sections.iter_mut().find(|other| other.name == section.name) {
            Some(old) => *old = section,
            None => self.sections.push(section),
        }
    }

    /// Where each section will lie: one after the other, by eight.
    fn places(&self) -> Vec<usize> {
        let mut at = FIRST;
        let next = |section: &Section| {
            let place = at;
            at = (at + section.content.len()).next_multiple_of(8);
            place
        };
        self.sections.iter().map(next).collect()
    }

    /// Link address of a section.
    pub(crate) fn address(&self, name: &str) -> u64 {
        let index = self.index(name);
        BASE + self.places().get(index).map_or(0, |place| *place as u64)
    }

    fn index(&self, name: &str) -> usize {
        self.sections.iter().position(|section| section.name == name).unwrap_or(usize::MAX)
    }

    pub(crate) fn written(&self) -> Written {
        let places = self.places();
        let mut bytes = vec![0; FIRST];
        for (section, place) in self.sections.iter().zip(&places) {
            bytes.resize(*place, 0);
            bytes.extend_from_slice(&section.content);
        }
        let mut names = vec![0];
        let mut name_of = |name: &str| {
            let at = names.len() as u64;
            names.extend_from_slice(name.as_bytes());
            names.push(0);
            at
        };
        let mut headers = vec![[0; 10]];
        for (section, place) in self.sections.iter().zip(&places) {
            let link = self.index(section.link);
            headers.push([
                name_of(&section.name),
                section.kind.into(),
                section.flags,
                BASE + *place as u64,
                *place as u64,
                section.content.len() as u64,
                if link == usize::MAX { 0 } else { link as u64 + 1 },
                u64::from(section.kind == SYMTAB),
                1,
                section.entry_bytes,
            ]);
        }
        let own = name_of(".shstrtab");
        let place = bytes.len() as u64;
        headers.push([own, STRTAB.into(), 0, 0, place, names.len() as u64, 0, 0, 1, 0]);
        bytes.extend_from_slice(&names);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let table = bytes.len();
        bytes.resize(table + headers.len() * SECTION_BYTES, 0);
        let end = bytes.len() as u64;
        let mut written = Written { bytes, table, names: self.names() };
        for (index, values) in headers.iter().enumerate() {
            for ((_, at, len), value) in SECTION.iter().zip(values) {
                written.set(table + index * SECTION_BYTES + at, *len, *value);
            }
        }
        let loaded = [LOAD.into(), 5, 0, BASE, BASE, end, end, 0x1000];
        let over = self.segments.iter().map(|segment| {
            let index = self.index(segment.section);
            let (place, len) = match self.sections.get(index) {
                Some(section) => (places[index] as u64, section.content.len() as u64),
                None => (0, 0),
            };
            [segment.kind.into(), 4, place, BASE + place, BASE + place, len, len, 4]
        });
        let segments: Vec<[u64; 8]> = [loaded].into_iter().chain(over).collect();
        for (index, values) in segments.iter().enumerate() {
            for ((_, at, len), value) in SEGMENT.iter().zip(values) {
                written.set(64 + index * 56 + at, *len, *value);
            }
        }
        written.bytes[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        let (segments, sections) = (segments.len() as u64, headers.len() as u64);
        let values = [
            2,
            1,
            2,
            62,
            1,
            BASE,
            64,
            table as u64,
            0,
            64,
            56,
            segments,
            64,
            sections,
            sections - 1,
        ];
        for ((_, at, len), value) in HEADER.iter().zip(values) {
            written.set(*at, *len, value);
        }
        written
    }

    fn names(&self) -> Vec<String> {
        self.sections.iter().map(|section| section.name.clone()).collect()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.written().bytes
    }
}

/// A file with its headers, which can be changed after the fact.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) bytes: Vec<u8>,
    /// Where the headers of the sections lie.
    table: usize,
    names: Vec<String>,
}

impl Written {
    /// Writes a number of `len` bytes.
    pub(crate) fn set(&mut self, at: usize, len: usize, value: u64) {
        self.bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
    }

    pub(crate) fn get(&self, at: usize, len: usize) -> u64 {
        let mut value = [0; 8];
        value[..len].copy_from_slice(&self.bytes[at..at + len]);
        u64::from_le_bytes(value)
    }

    /// Where a field of the header of a section lies; the file has the section.
    pub(crate) fn field(&self, section: &str, field: &str) -> (usize, usize) {
        let index = self.names.iter().position(|name| name == section);
        let index = index.unwrap_or_else(|| panic!("no section {section}")) + 1;
        let found = SECTION.iter().find(|(name, ..)| *name == field);
        let (_, at, len) = found.unwrap_or_else(|| panic!("no field {field}"));
        (self.table + index * SECTION_BYTES + at, *len)
    }

    pub(crate) fn set_field(&mut self, section: &str, field: &str, value: u64) {
        let (at, len) = self.field(section, field);
        self.set(at, len, value);
    }

    pub(crate) fn get_field(&self, section: &str, field: &str) -> u64 {
        let (at, len) = self.field(section, field);
        self.get(at, len)
    }
}
