//! Debug information, written entry by entry (DWARF 5, 7.5). Nothing here uses what it is held against.

use std::collections::HashMap;

pub(crate) const TAG_ENUMERATION: u16 = 0x04;
pub(crate) const TAG_PARAMETER: u16 = 0x05;
pub(crate) const TAG_MEMBER: u16 = 0x0d;
pub(crate) const TAG_POINTER: u16 = 0x0f;
pub(crate) const TAG_UNIT: u16 = 0x11;
pub(crate) const TAG_STRUCTURE: u16 = 0x13;
pub(crate) const TAG_TYPEDEF: u16 = 0x16;
pub(crate) const TAG_INHERITANCE: u16 = 0x1c;
pub(crate) const TAG_INLINED: u16 = 0x1d;
pub(crate) const TAG_BASE: u16 = 0x24;
pub(crate) const TAG_ENUMERATOR: u16 = 0x28;
pub(crate) const TAG_FUNCTION: u16 = 0x2e;
pub(crate) const TAG_VARIABLE: u16 = 0x34;
pub(crate) const TAG_IMPORTED_UNIT: u16 = 0x3d;
pub(crate) const TAG_SKELETON: u16 = 0x4a;

pub(crate) const LOCATION: u16 = 0x02;
pub(crate) const NAME: u16 = 0x03;
pub(crate) const SIZE: u16 = 0x0b;
pub(crate) const LINES: u16 = 0x10;
pub(crate) const LOW_PC: u16 = 0x11;
pub(crate) const HIGH_PC: u16 = 0x12;
pub(crate) const IMPORT: u16 = 0x18;
pub(crate) const COMP_DIR: u16 = 0x1b;
pub(crate) const CONST_VALUE: u16 = 0x1c;
pub(crate) const ORIGIN: u16 = 0x31;
pub(crate) const MEMBER_LOCATION: u16 = 0x38;
pub(crate) const FRAME_BASE: u16 = 0x40;
pub(crate) const SPECIFICATION: u16 = 0x47;
pub(crate) const TYPE: u16 = 0x49;
pub(crate) const RANGES: u16 = 0x55;
pub(crate) const LINKAGE_NAME: u16 = 0x6e;
pub(crate) const DWO_NAME: u16 = 0x76;

pub(crate) const ADDR: u16 = 0x01;
pub(crate) const DATA2: u16 = 0x05;
pub(crate) const DATA8: u16 = 0x07;
pub(crate) const STRING: u16 = 0x08;
pub(crate) const REF4: u16 = 0x13;
pub(crate) const SEC_OFFSET: u16 = 0x17;
pub(crate) const EXPRLOC: u16 = 0x18;
pub(crate) const FLAG_PRESENT: u16 = 0x19;
pub(crate) const REF_SIG8: u16 = 0x20;

/// `DW_UT_skeleton` and `DW_UT_split_compile`.
pub(crate) const SKELETON: u8 = 4;
pub(crate) const SPLIT: u8 = 5;

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Bytes(Vec<u8>),
    /// The entry of that label.
    Entry(&'static str),
}

#[derive(Clone, Debug)]
pub(crate) struct Attribute {
    pub(crate) name: u16,
    pub(crate) form: u16,
    pub(crate) value: Value,
}

/// An entry and those below it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) label: &'static str,
    pub(crate) tag: u16,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) children: Vec<Entry>,
}

impl Entry {
    pub(crate) fn new(tag: u16) -> Self {
        Self { label: "", tag, attributes: Vec::new(), children: Vec::new() }
    }

    pub(crate) fn called(mut self, label: &'static str) -> Self {
        self.label = label;
        self
    }

    pub(crate) fn with(mut self, children: Vec<Self>) -> Self {
        self.children = children;
        self
    }

    pub(crate) fn raw(mut self, name: u16, form: u16, bytes: &[u8]) -> Self {
        self.attributes.push(Attribute { name, form, value: Value::Bytes(bytes.to_vec()) });
        self
    }

    pub(crate) fn text(self, name: u16, text: &str) -> Self {
        self.raw(name, STRING, &[text.as_bytes(), &[0]].concat())
    }

    pub(crate) fn number(self, name: u16, value: u16) -> Self {
        self.raw(name, DATA2, &value.to_le_bytes())
    }

    pub(crate) fn address(self, name: u16, value: u64) -> Self {
        self.raw(name, ADDR, &value.to_le_bytes())
    }

    pub(crate) fn expression(self, name: u16, bytes: &[u8]) -> Self {
        let counted = [&leb(bytes.len() as u64)[..], bytes].concat();
        self.raw(name, EXPRLOC, &counted)
    }

    pub(crate) fn refer(mut self, name: u16, label: &'static str) -> Self {
        self.attributes.push(Attribute { name, form: REF4, value: Value::Entry(label) });
        self
    }

    /// Whatever it had under that name.
    pub(crate) fn without(mut self, name: u16) -> Self {
        self.attributes.retain(|attribute| attribute.name != name);
        self
    }

    /// The entry of that label, here or below.
    pub(crate) fn find(&mut self, label: &str) -> Option<&mut Self> {
        if self.label == label {
            return Some(self);
        }
        self.children.iter_mut().find_map(|child| child.find(label))
    }

    /// Changes the entry of that label, which the model has.
    pub(crate) fn change(&mut self, label: &str, change: impl FnOnce(Self) -> Self) {
        let found = self.find(label).unwrap_or_else(|| panic!("the model has no {label}"));
        *found = change(found.clone());
    }
}

/// A unit, and what of it may be a lie.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) version: u16,
    /// `DW_UT_*` of DWARF 5.
    pub(crate) kind: u8,
    /// Id of a skeleton or its split unit.
    pub(crate) id: Option<u64>,
    pub(crate) root: Entry,
}

/// `.debug_info` and `.debug_abbrev`.
#[derive(Clone, Debug)]
pub(crate) struct Sections {
    pub(crate) info: Vec<u8>,
    pub(crate) abbrev: Vec<u8>,
}

impl Unit {
    pub(crate) fn sections(&self) -> Sections {
        let mut writer = Writer::default();
        let mut header = self.version.to_le_bytes().to_vec();
        if self.version >= 5 {
            header.extend_from_slice(&[self.kind, 8, 0, 0, 0, 0]);
            header.extend(self.id.iter().flat_map(|id| id.to_le_bytes()));
        } else {
            header.extend_from_slice(&[0, 0, 0, 0, 8]);
        }
        // References count from the length in front.
        writer.info = [&[0; 4][..], &header].concat();
        writer.entry(&self.root);
        let Writer { mut info, mut abbrev, labels, references, .. } = writer;
        for (at, label) in references {
            let target = labels.get(label).copied().unwrap_or(u32::MAX);
            info[at..at + 4].copy_from_slice(&target.to_le_bytes());
        }
        let len = u32::try_from(info.len() - 4).unwrap_or(u32::MAX);
        info[..4].copy_from_slice(&len.to_le_bytes());
        abbrev.push(0);
        Sections { info, abbrev }
    }
}

#[derive(Default)]
struct Writer {
    info: Vec<u8>,
    abbrev: Vec<u8>,
    /// Declarations that were written, without their codes.
    known: HashMap<Vec<u8>, u64>,
    labels: HashMap<&'static str, u32>,
    references: Vec<(usize, &'static str)>,
}

impl Writer {
    fn entry(&mut self, entry: &Entry) {
        let code = self.code(entry);
        let at = u32::try_from(self.info.len()).unwrap_or(u32::MAX);
        self.labels.insert(entry.label, at);
        self.info.extend(leb(code));
        for attribute in &entry.attributes {
            match &attribute.value {
                Value::Bytes(bytes) => self.info.extend_from_slice(bytes),
                Value::Entry(label) => {
                    self.references.push((self.info.len(), label));
                    self.info.extend_from_slice(&[0; 4]);
                }
            }
        }
        entry.children.iter().for_each(|child| self.entry(child));
        if !entry.children.is_empty() {
            self.info.push(0);
        }
    }

    fn code(&mut self, entry: &Entry) -> u64 {
        let mut declaration = leb(entry.tag.into());
        declaration.push(u8::from(!entry.children.is_empty()));
        for attribute in &entry.attributes {
            declaration.extend(leb(attribute.name.into()));
            declaration.extend(leb(attribute.form.into()));
            if attribute.form == 0x21 {
                // `DW_FORM_implicit_const`: the value stands here.
                declaration.push(0x7f);
            }
        }
        declaration.extend_from_slice(&[0, 0]);
        let next = self.known.len() as u64 + 1;
        if let Some(code) = self.known.get(&declaration) {
            return *code;
        }
        self.abbrev.extend(leb(next));
        self.abbrev.extend_from_slice(&declaration);
        self.known.insert(declaration, next);
        next
    }
}

/// A number as ULEB128.
pub(crate) fn leb(value: u64) -> Vec<u8> {
    let (mut rest, mut bytes) = (value, Vec::new());
    loop {
        let low = u8::try_from(rest & 0x7f).unwrap_or(0);
        rest >>= 7;
        if rest == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
