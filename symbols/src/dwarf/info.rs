//! Units of all files of one program, and references between their entries.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;

use gimli::{
    DW_AT_MIPS_linkage_name, DW_AT_abstract_origin, DW_AT_linkage_name, DW_AT_name,
    DW_AT_specification, DebugInfoOffset, DebugTypeSignature, Dwarf, Unit, UnitHeader, UnitOffset,
    UnitRef, UnitType,
};

use super::split::SplitSections;
use super::{Die, MAX_CHAIN, Sections, Slice, Value};

/// A unit of one of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct UnitId {
    file: usize,
    slot: usize,
}

/// An entry of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DieRef {
    pub(crate) unit: UnitId,
    pub(crate) offset: UnitOffset,
}

/// All DWARF of one program.
#[derive(Debug)]
pub(crate) struct DebugInfo<'d> {
    files: Vec<File<'d>>,
}

/// Number of the program or its debug file.
const MAIN: usize = 0;
/// Number of the dwz alternate (without units where there is none); split files follow.
const ALTERNATE: usize = 1;

#[derive(Debug)]
struct File<'d> {
    dwarf: Dwarf<Slice<'d>>,
    /// Units of `.debug_info` by rising offset, then those of `.debug_types`.
    slots: Vec<Slot<'d>>,
    /// How many of them are of `.debug_info`.
    in_info: usize,
    /// Where the type of each type unit is.
    types: HashMap<DebugTypeSignature, (usize, UnitOffset)>,
    /// What a `.dwo` takes from its skeleton unit: base of addresses and ranges.
    skeleton: Option<UnitId>,
}

#[derive(Debug)]
struct Slot<'d> {
    header: UnitHeader<Slice<'d>>,
    unit: OnceCell<Option<Unit<Slice<'d>>>>,
}

impl<'d> DebugInfo<'d> {
    /// Lists the units of a file and its dwz alternate. Only their headers are read.
    pub(crate) fn new(main: &'d Sections<'_>, alternate: Option<&'d Sections<'_>>) -> Self {
        let mut dwarf = main.dwarf();
        if let Some(alternate) = alternate {
            dwarf.set_sup(alternate.dwarf());
        }
        // Numbered as `MAIN` and `ALTERNATE`.
        let alternate = alternate.map(Sections::dwarf).unwrap_or_default();
        Self { files: vec![File::new(dwarf, None), File::new(alternate, None)] }
    }

    /// Adds the split part of a unit and returns its units.
    pub(crate) fn add_split(&mut self, split: &'d SplitSections<'_>) -> Vec<UnitId> {
        let skeleton = split.skeleton();
        let parent = self.files.get(skeleton.file);
        let Some(dwarf) = parent.and_then(|file| split.dwarf(&file.dwarf)) else {
            return Vec::new();
        };
        self.files.push(File::new(dwarf, Some(skeleton)));
        self.units_of(self.files.len() - 1)
    }

    /// Units of the program or its debug file, type units too.
    pub(crate) fn units(&self) -> Vec<UnitId> {
        self.units_of(MAIN)
    }

    fn units_of(&self, file: usize) -> Vec<UnitId> {
        let count = self.files.get(file).map_or(0, |f| f.slots.len());
        (0..count).map(|slot| UnitId { file, slot }).collect()
    }

    /// A unit, parsed at first use; none when it is broken.
    pub(crate) fn unit(&self, id: UnitId) -> Option<UnitRef<'_, Slice<'d>>> {
        let file = self.files.get(id.file)?;
        let slot = file.slots.get(id.slot)?;
        let unit = slot.unit.get_or_init(|| {
            let mut unit = Unit::new(&file.dwarf, slot.header)
                .inspect_err(|e| log::warn!("unit {:?} is left out: {e}", slot.header.offset()))
                .ok()?;
            if let Some(skeleton) = file.skeleton.and_then(|id| self.unit(id)) {
                unit.copy_relocated_attributes(skeleton.unit);
            }
            Some(unit)
        });
        unit.as_ref().map(|unit| unit.unit_ref(&file.dwarf))
    }

    /// `DW_AT_name` of a unit, without keeping the unit.
    pub(crate) fn root_name(&self, id: UnitId) -> Option<Cow<'d, str>> {
        Some(self.unit(id)?.name?.to_string_lossy())
    }

    /// Name of the split file of a skeleton unit.
    pub(crate) fn split_name(&self, id: UnitId) -> Option<Cow<'d, [u8]>> {
        let unit = self.unit(id)?;
        let name = unit.attr_string(unit.dwo_name().ok()??).ok()?;
        Some(Cow::Borrowed(name.slice()))
    }

    /// An entry.
    pub(crate) fn entry(&self, die: DieRef) -> Option<Die<'d>> {
        self.unit(die.unit)?.entry(die.offset).ok()
    }

    /// Direct children of an entry, at most `limit`.
    pub(crate) fn children(&self, die: DieRef, limit: usize) -> Vec<Die<'d>> {
        let mut children = Vec::new();
        let Some(unit) = self.unit(die.unit) else { return children };
        let Ok(mut cursor) = unit.entries_at_offset(die.offset) else { return children };
        if !matches!(cursor.next_dfs(), Ok(Some(parent)) if parent.has_children()) {
            return children;
        }
        let mut next = cursor.next_dfs().ok().flatten().cloned();
        while let Some(child) = next.filter(|_| children.len() < limit) {
            children.push(child);
            next = cursor.next_sibling().ok().flatten().cloned();
        }
        children
    }

    /// The entry that a reference attribute of an entry of `from` points to.
    pub(crate) fn follow(&self, from: UnitId, value: &Value<'d>) -> Option<DieRef> {
        match *value {
            Value::UnitRef(offset) => Some(DieRef { unit: from, offset }),
            Value::DebugInfoRef(offset) => self.at(from.file, offset),
            Value::DebugInfoRefSup(offset) => self.at(ALTERNATE, offset),
            Value::DebugTypesRef(signature) => {
                let file = self.files.get(from.file)?;
                let (slot, offset) = *file.types.get(&signature)?;
                Some(DieRef { unit: UnitId { file: from.file, slot }, offset })
            }
            _ => None,
        }
    }

    fn at(&self, file: usize, offset: DebugInfoOffset) -> Option<DieRef> {
        let slots = self.files.get(file)?;
        let units = slots.slots.get(..slots.in_info)?;
        let start = |slot: &Slot<'d>| slot.header.debug_info_offset();
        let slot = units.partition_point(|s| start(s) <= Some(offset)).checked_sub(1)?;
        let offset = offset.to_unit_offset(&units.get(slot)?.header)?;
        Some(DieRef { unit: UnitId { file, slot }, offset })
    }

    /// What an entry is a copy or a definition of.
    pub(crate) fn origin(&self, unit: UnitId, die: &Die<'d>) -> Option<DieRef> {
        let value = die
            .attr_value(DW_AT_abstract_origin)
            .or_else(|| die.attr_value(DW_AT_specification))?;
        self.follow(unit, &value)
    }

    /// Text of a string attribute.
    pub(crate) fn text(&self, unit: UnitId, value: Value<'d>) -> Option<Cow<'d, str>> {
        Some(self.unit(unit)?.attr_string(value).ok()?.to_string_lossy())
    }

    /// The name of an entry itself: `DW_AT_name`.
    pub(crate) fn name(&self, unit: UnitId, die: &Die<'d>) -> Option<Cow<'d, str>> {
        self.text(unit, die.attr_value(DW_AT_name)?)
    }

    /// The symbol name of an entry itself: its linkage name, else its name.
    pub(crate) fn own_symbol(&self, unit: UnitId, die: &Die<'d>) -> Option<Cow<'d, str>> {
        die.attr_value(DW_AT_linkage_name)
            .or_else(|| die.attr_value(DW_AT_MIPS_linkage_name))
            .and_then(|value| self.text(unit, value))
            .or_else(|| self.name(unit, die))
    }

    /// The symbol name of an entry, or of what it is a copy or definition of.
    pub(crate) fn symbol(&self, die: DieRef) -> Option<Cow<'d, str>> {
        let mut at = die;
        for _ in 0..MAX_CHAIN {
            let entry = self.entry(at)?;
            if let Some(name) = self.own_symbol(at.unit, &entry) {
                return Some(name);
            }
            at = self.origin(at.unit, &entry)?;
        }
        None
    }
}

impl<'d> File<'d> {
    fn new(dwarf: Dwarf<Slice<'d>>, skeleton: Option<UnitId>) -> Self {
        let mut headers = Vec::new();
        let mut units = dwarf.units();
        while let Ok(Some(header)) = units.next() {
            headers.push(header);
        }
        let in_info = headers.len();
        let mut units = dwarf.type_units();
        while let Ok(Some(header)) = units.next() {
            headers.push(header);
        }
        let types = headers
            .iter()
            .enumerate()
            .filter_map(|(slot, header)| match header.type_() {
                UnitType::Type { type_signature, type_offset }
                | UnitType::SplitType { type_signature, type_offset } => {
                    Some((type_signature, (slot, type_offset)))
                }
                _ => None,
            })
            .collect();
        let slots =
            headers.into_iter().map(|header| Slot { header, unit: OnceCell::new() }).collect();
        Self { dwarf, slots, in_info, types, skeleton }
    }
}
