//! Sizes of types, and where a member path leads.
#![expect(non_upper_case_globals, reason = "constants are named as in the DWARF standard")]

use std::collections::HashSet;

use gimli::{
    DW_AT_bit_offset, DW_AT_bit_size, DW_AT_byte_size, DW_AT_count, DW_AT_data_bit_offset,
    DW_AT_data_member_location, DW_AT_declaration, DW_AT_signature, DW_AT_type, DW_AT_upper_bound,
    DW_TAG_array_type, DW_TAG_atomic_type, DW_TAG_class_type, DW_TAG_const_type,
    DW_TAG_inheritance, DW_TAG_member, DW_TAG_pointer_type, DW_TAG_reference_type,
    DW_TAG_restrict_type, DW_TAG_rvalue_reference_type, DW_TAG_structure_type,
    DW_TAG_subrange_type, DW_TAG_typedef, DW_TAG_union_type, DW_TAG_volatile_type, DwAt, Operation,
};

use super::bits::{BitPosition, BitRange, bit_field};
use super::info::DieRef;
use super::{DebugInfo, Die, Index, MAX_CHAIN, Value};
use crate::reason::UnresolvedReason;

/// Most members looked at for one part of a path. A large server class has some thousands.
const MEMBER_BUDGET: usize = 100_000;

/// Size of a pointer on x86-64 in bytes.
const POINTER_BYTES: u64 = 8;

/// What one search for a member has looked at.
struct Search {
    /// Members that may still be looked at.
    left: usize,
    /// Structures that do not have it: one that inherits from itself in many ways is looked at once.
    seen: HashSet<DieRef>,
}

impl Search {
    fn new() -> Self {
        Self { left: MEMBER_BUDGET, seen: HashSet::new() }
    }
}

/// Questions about the types of an [`Index`].
#[derive(Clone, Copy)]
pub(crate) struct Types<'a, 'd> {
    pub(crate) info: &'a DebugInfo<'d>,
    pub(crate) index: &'a Index,
}

impl<'d> Types<'_, 'd> {
    /// Size in bytes of the type called `name`.
    pub(crate) fn size(&self, name: &str) -> Result<u64, UnresolvedReason> {
        self.definitions(name)
            .find_map(|die| self.size_of(die))
            .ok_or(UnresolvedReason::NotInDebugInfo)
    }

    /// Where `path` (`type.member.member`) leads, from the start of its type.
    ///
    /// A member of a base class or an anonymous member is found as if it were the type's own. The
    /// last member is taken whole: for `std::atomic<T>` and the server's own wrappers of one
    /// member that is the offset and size of the value itself.
    pub(crate) fn field(&self, path: &str) -> Result<BitRange, UnresolvedReason> {
        let mut parts = path.split('.');
        let root = parts.next().unwrap_or_default();
        let members: Vec<&str> = parts.collect();
        self.definitions(root)
            .find_map(|die| self.descend(die, &members))
            .ok_or(UnresolvedReason::NotInDebugInfo)
    }

    fn definitions(&self, name: &str) -> impl Iterator<Item = DieRef> {
        self.index.types.get(name).into_iter().flatten().copied()
    }

    fn descend(&self, root: DieRef, members: &[&str]) -> Option<BitRange> {
        let mut at = root;
        let mut base: u64 = 0;
        let (last, parents) = members.split_last()?;
        for name in parents {
            let (member, owner, offset) = self.member(at, name, &mut Search::new(), 0)?;
            base = base.checked_add(offset)?.checked_add(self.offset(&member)?)?;
            at = self.attr_ref(owner, &member, DW_AT_type)?;
        }
        let (member, owner, offset) = self.member(at, last, &mut Search::new(), 0)?;
        let place = self.place(owner, &member)?;
        Some(BitRange { offset: base.checked_add(offset)?.checked_add(place.offset)?, ..place })
    }

    /// The member called `name` of a structure, the entry it belongs to, and the offset of the
    /// (base or anonymous) structure that has it.
    fn member(
        &self,
        structure: DieRef,
        name: &str,
        search: &mut Search,
        depth: usize,
    ) -> Option<(Die<'d>, DieRef, u64)> {
        if depth > MAX_CHAIN {
            return None;
        }
        let (at, _) = self.strip(structure)?;
        if !search.seen.insert(at) {
            return None;
        }
        let children = self.info.children(at, search.left);
        search.left = search.left.checked_sub(children.len() + 1)?;
        let own = |die: &&Die<'d>| {
            die.tag() == DW_TAG_member && self.info.name(at.unit, die).is_some_and(|n| n == name)
        };
        if let Some(found) = children.iter().find(own) {
            return Some((found.clone(), at, 0));
        }
        children
            .iter()
            .filter(|die| match die.tag() {
                DW_TAG_inheritance => true,
                DW_TAG_member => self.info.name(at.unit, die).is_none_or(|n| n.is_empty()),
                _ => false,
            })
            .find_map(|die| {
                let base = self.offset(die)?;
                let inner = self.attr_ref(at, die, DW_AT_type)?;
                let (found, owner, offset) = self.member(inner, name, search, depth + 1)?;
                Some((found, owner, base.checked_add(offset)?))
            })
    }

    /// Byte offset of a member or base class in its structure. None for a virtual base.
    fn offset(&self, member: &Die<'d>) -> Option<u64> {
        match member.attr_value(DW_AT_data_member_location) {
            // Members of a union have none; so have bit-fields counted from the start.
            None => Some(0),
            Some(value) => match value.exprloc_value() {
                None => value.udata_value(),
                // DWARF 2: an expression that adds the offset to the structure's address.
                Some(expression) => {
                    let encoding = gimli::Encoding {
                        format: gimli::Format::Dwarf32,
                        version: 2,
                        address_size: 8,
                    };
                    let mut operations = expression.operations(encoding);
                    match (operations.next().ok()??, operations.next().ok()?) {
                        (Operation::PlusConstant { value }, None) => Some(value),
                        _ => None,
                    }
                }
            },
        }
    }

    fn place(&self, owner: DieRef, member: &Die<'d>) -> Option<BitRange> {
        let declared = self.attr_ref(owner, member, DW_AT_type).and_then(|t| self.size_of(t));
        let Some(width) = number(member, DW_AT_bit_size) else {
            return Some(BitRange { offset: self.offset(member)?, size: declared?, bits: None });
        };
        let unit = number(member, DW_AT_byte_size).or(declared)?;
        let from_start = number(member, DW_AT_data_bit_offset);
        let from_top = member.attr_value(DW_AT_bit_offset).and_then(|v| {
            v.udata_value().and_then(|u| i64::try_from(u).ok()).or_else(|| v.sdata_value())
        });
        let position = match (from_start, from_top) {
            (Some(bit_offset), _) => BitPosition::FromStart { bit_offset },
            (None, Some(bit_offset)) => {
                BitPosition::FromTop { offset: self.offset(member)?, bit_offset }
            }
            (None, None) => {
                BitPosition::FromStart { bit_offset: self.offset(member)?.checked_mul(8)? }
            }
        };
        bit_field(position, unit, width)
    }

    /// Size in bytes of a type.
    pub(crate) fn size_of(&self, die: DieRef) -> Option<u64> {
        let mut at = die;
        let mut count: u64 = 1;
        for _ in 0..MAX_CHAIN {
            let (die, entry) = self.strip(at)?;
            if let Some(size) = number(&entry, DW_AT_byte_size) {
                return size.checked_mul(count);
            }
            match entry.tag() {
                DW_TAG_pointer_type | DW_TAG_reference_type | DW_TAG_rvalue_reference_type => {
                    return POINTER_BYTES.checked_mul(count);
                }
                DW_TAG_array_type => {
                    count = count.checked_mul(self.elements(die)?)?;
                    at = self.attr_ref(die, &entry, DW_AT_type)?;
                }
                _ => return None,
            }
        }
        None
    }

    fn elements(&self, array: DieRef) -> Option<u64> {
        self.info
            .children(array, MAX_CHAIN)
            .iter()
            .filter(|die| die.tag() == DW_TAG_subrange_type)
            .try_fold(1_u64, |product, range| {
                let count = number(range, DW_AT_count)
                    .or_else(|| number(range, DW_AT_upper_bound)?.checked_add(1))?;
                product.checked_mul(count)
            })
    }

    /// The type itself, without typedefs and qualifiers; through the signature of a type unit.
    fn strip(&self, die: DieRef) -> Option<(DieRef, Die<'d>)> {
        let mut at = die;
        for _ in 0..MAX_CHAIN {
            let entry = self.info.entry(at)?;
            at = match entry.tag() {
                DW_TAG_typedef | DW_TAG_const_type | DW_TAG_volatile_type
                | DW_TAG_restrict_type | DW_TAG_atomic_type => {
                    self.attr_ref(at, &entry, DW_AT_type)?
                }
                DW_TAG_structure_type | DW_TAG_class_type | DW_TAG_union_type
                    if entry.attr(DW_AT_declaration).is_some() =>
                {
                    self.definition(at, &entry)?
                }
                _ => return Some((at, entry)),
            };
        }
        None
    }

    /// The definition of a declared type: in a type unit, or in another unit under its name.
    fn definition(&self, declaration: DieRef, entry: &Die<'d>) -> Option<DieRef> {
        self.attr_ref(declaration, entry, DW_AT_signature).or_else(|| {
            let name = self.info.name(declaration.unit, entry)?;
            self.definitions(&name).next()
        })
    }

    fn attr_ref(&self, owner: DieRef, entry: &Die<'d>, attr: DwAt) -> Option<DieRef> {
        self.info.follow(owner.unit, &entry.attr_value(attr)?)
    }
}

fn number(entry: &Die<'_>, attr: DwAt) -> Option<u64> {
    entry.attr_value(attr).as_ref().and_then(Value::udata_value)
}
