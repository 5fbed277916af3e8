//! Offsets of kernel struct members from the kernel's own type information (`/sys/kernel/btf/vmlinux`).
//!
//! Only what the walk needs: find a struct by name and a member by name, through anonymous structs
//! and unions. Format: Documentation/bpf/btf.rst. Every read is bounded; the input is foreign.

use thiserror::Error;

/// The type information does not answer.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BtfError {
    /// Not BTF, or cut short.
    #[error("the kernel's type information is malformed: {0}")]
    Malformed(&'static str),
    /// No such member.
    #[error("the kernel's type information has no `{member}` in `struct {name}`")]
    NoMember {
        /// Struct.
        name: String,
        /// Member.
        member: String,
    },
}

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
/// Anonymous structs inside each other; the kernel has two or three.
const MAX_DEPTH: u32 = 8;

/// Parsed type information: the byte offset of each type, and the string table.
pub struct Btf<'a> {
    types: Vec<usize>,
    section: &'a [u8],
    strings: &'a [u8],
}

/// Kind, name and size of one type, and its members when it has some.
struct Type<'a> {
    kind: u32,
    kind_flag: bool,
    name: u32,
    rest: &'a [u8],
}

fn word(bytes: &[u8], at: usize) -> Result<u32, BtfError> {
    let end = at.checked_add(4).ok_or(BtfError::Malformed("offset"))?;
    let word = bytes.get(at..end).ok_or(BtfError::Malformed("cut short"))?;
    Ok(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}

/// Bytes that follow the 12-byte header of a type of this kind with `len` elements.
fn trailer(kind: u32, len: usize) -> Result<usize, BtfError> {
    Ok(match kind {
        1 | 14 | 17 => 4,                               // int, var, decl tag
        2 | 7..=12 | 16 | 18 => 0, // pointer, fwd, typedef, qualifiers, func, float, type tag
        3 => 12,                   // array
        KIND_STRUCT | KIND_UNION | 15 | 19 => len * 12, // members, data section, enum64
        6 | 13 => len * 8,         // enum, function prototype
        _ => return Err(BtfError::Malformed("unknown kind of type")),
    })
}

impl<'a> Btf<'a> {
    /// Parses the header and finds where each type lies.
    ///
    /// # Errors
    /// When the bytes are not BTF.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        let magic = bytes.get(..2).ok_or(BtfError::Malformed("cut short"))?;
        if u16::from_le_bytes([magic[0], magic[1]]) != MAGIC {
            return Err(BtfError::Malformed("magic number"));
        }
        let header = word(bytes, 4)? as usize;
        let part = |offset: u32, len: u32| {
            let start = header.checked_add(offset as usize)?;
            bytes.get(start..start.checked_add(len as usize)?)
        };
        let section =
            part(word(bytes, 8)?, word(bytes, 12)?).ok_or(BtfError::Malformed("type section"))?;
        let strings = part(word(bytes, 16)?, word(bytes, 20)?)
            .ok_or(BtfError::Malformed("string section"))?;
        let mut types = Vec::new();
        let mut at = 0;
        while at < section.len() {
            types.push(at);
            let info = word(section, at + 4)?;
            at += 12 + trailer(info >> 24 & 31, (info & 0xffff) as usize)?;
        }
        Ok(Self { types, section, strings })
    }

    fn get(&self, at: usize) -> Result<Type<'a>, BtfError> {
        let info = word(self.section, at + 4)?;
        let kind = info >> 24 & 31;
        let start = at + 12;
        let len = trailer(kind, (info & 0xffff) as usize)?;
        let rest = self.section.get(start..start + len).ok_or(BtfError::Malformed("cut short"))?;
        Ok(Type { kind, kind_flag: info >> 31 != 0, name: word(self.section, at)?, rest })
    }

    fn named(&self, offset: u32, name: &str) -> bool {
        self.strings
            .get(offset as usize..)
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }

    /// Byte offset of `member` in `struct name`.
    ///
    /// # Errors
    /// When there is no such struct or member.
    pub fn offset(&self, name: &str, member: &str) -> Result<u32, BtfError> {
        for &at in &self.types {
            let found = self.get(at)?;
            if found.kind == KIND_STRUCT
                && self.named(found.name, name)
                && let Some(bits) = self.member(&found, member, MAX_DEPTH)?
            {
                return Ok(bits / 8);
            }
        }
        Err(BtfError::NoMember { name: name.to_owned(), member: member.to_owned() })
    }

    /// Offset in bits of a member, looked for through anonymous members too.
    fn member(&self, of: &Type<'_>, member: &str, depth: u32) -> Result<Option<u32>, BtfError> {
        for entry in of.rest.as_chunks::<12>().0 {
            let (name, kind, offset) = (word(entry, 0)?, word(entry, 4)?, word(entry, 8)?);
            let bits = if of.kind_flag { offset & 0x00ff_ffff } else { offset };
            if self.named(name, member) {
                return Ok(Some(bits));
            }
            let anonymous = self.strings.get(name as usize) == Some(&0);
            // Type 0 is void; the first of the section has number 1.
            let at = (kind as usize).checked_sub(1).and_then(|n| self.types.get(n));
            if anonymous
                && depth > 0
                && let Some(&at) = at
            {
                let inner = self.get(at)?;
                if matches!(inner.kind, KIND_STRUCT | KIND_UNION)
                    && let Some(inside) = self.member(&inner, member, depth - 1)?
                {
                    return Ok(Some(bits.saturating_add(inside)));
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_the_running_kernel_are_found() {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
        let btf = Btf::parse(&bytes).unwrap();
        let mm = btf.offset("task_struct", "mm").unwrap();
        let active = btf.offset("task_struct", "active_mm").unwrap();
        assert_eq!(active, mm + 8, "active_mm follows mm (include/linux/sched.h)");
        assert!(btf.offset("mm_struct", "pgd").unwrap() > 0, "found through the anonymous struct");
        assert!(btf.offset("mm_struct", "no_such_member").is_err());
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
        for len in [0, 1, 2, 8, 23, 24, 100, 4096] {
            let _ =
                Btf::parse(&bytes[..len.min(bytes.len())]).map(|b| b.offset("task_struct", "mm"));
        }
        let mut seed = 1_u64;
        for _ in 0..200 {
            let mut broken = bytes[..65536].to_vec();
            // The lengths must fit what is left for the parse to go on to the types.
            broken[12..16].copy_from_slice(&32768_u32.to_le_bytes());
            broken[16..20].copy_from_slice(&32768_u32.to_le_bytes());
            broken[20..24].copy_from_slice(&32000_u32.to_le_bytes());
            for _ in 0..20 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = usize::try_from(seed >> 33).unwrap() % 32768;
                broken[at] = (seed >> 8).to_le_bytes()[0];
            }
            let _ = Btf::parse(&broken).map(|b| b.offset("task_struct", "mm"));
        }
    }
}
