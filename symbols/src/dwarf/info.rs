//! Units of all files of one program, and references between their entries.

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fmt::Display;

use gimli::{
    DW_AT_MIPS_linkage_name, DW_AT_abstract_origin, DW_AT_linkage_name, DW_AT_name,
    DW_AT_specification, DebugInfoOffset, DebugTypeSignature, Dwarf, Unit, UnitHeader, UnitOffset,
    UnitRef, UnitType,
};

use super::split_sections::SplitSections;
pub(crate) use super::unit_id::UnitId;
use super::{Die, MAX_CHAIN, Sections, Slice, Value};

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
    /// For messages.
    name: &'static str,
    broken: RefCell<Broken>,
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
    unit: OnceCell<Option<Box<Unit<Slice<'d>>>>>,
}

/// Units of a file that cannot be read, or not to their end: a file may have a million of them, so
/// they are counted, and logged once.
#[derive(Debug, Default)]
struct Broken {
    count: usize,
    first: String,
}

/// What the root entry of a unit records of its sources.
#[derive(Debug)]
pub(crate) struct UnitRoot<'d> {
    /// `DW_AT_name`.
    pub(crate) name: Option<Cow<'d, str>>,
    /// Name of the split file of a skeleton unit.
    pub(crate) split: Option<Cow<'d, [u8]>>,
}

/// More units than any server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyUnits;

/// Most units of one file. A server has some thousands; type units make it some ten thousands.
pub(crate) const MAX_UNITS: usize = 500_000;

impl<'d> DebugInfo<'d> {
    /// Lists the units of a file and its dwz alternate. Only their headers are read.
    pub(crate) fn new(
        main: &'d Sections<'_>,
        alternate: Option<&'d Sections<'_>>,
    ) -> Result<Self, TooManyUnits> {
        let mut dwarf = main.dwarf();
        if let Some(alternate) = alternate {
            dwarf.set_sup(alternate.dwarf());
        }
        // Numbered as `MAIN` and `ALTERNATE`.
        let alternate = alternate.map(Sections::dwarf).unwrap_or_default();
        let main = File::new("the debug information", dwarf, None)?;
        Ok(Self { files: vec![main, File::new("the dwz alternate", alternate, None)?] })
    }

    /// Adds the split part of a unit and returns its units.
    pub(crate) fn add_split(
        &mut self,
        split: &'d SplitSections<'_>,
    ) -> Result<Vec<UnitId>, TooManyUnits> {
        let skeleton = split.skeleton();
        let parent = self.files.get(skeleton.file);
        let Some(dwarf) = parent.and_then(|file| split.dwarf(&file.dwarf)) else {
            return Ok(Vec::new());
        };
        self.files.push(File::new("a split unit", dwarf, Some(skeleton))?);
        Ok(self.units_of(self.files.len() - 1))
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
            let mut unit = file.parse(slot)?;
            if let Some(skeleton) = file.skeleton.and_then(|id| self.unit(id)) {
                unit.copy_relocated_attributes(skeleton.unit);
            }
            Some(Box::new(unit))
        });
        unit.as_ref().map(|unit| unit.unit_ref(&file.dwarf))
    }

    /// The root entry's attributes, without keeping the unit: a large server has thousands, of which a
    /// handful matter.
    pub(crate) fn root(&self, id: UnitId) -> Option<UnitRoot<'d>> {
        let file = self.files.get(id.file)?;
        let slot = file.slots.get(id.slot)?;
        if slot.is_broken() {
            return None;
        }
        let Some(unit) = file.parse(slot) else {
            // It is not tried again, nor counted again.
            let _ = slot.unit.set(None);
            return None;
        };
        let split = || {
            let name = unit.dwo_name().ok()??;
            Some(Cow::Borrowed(file.dwarf.attr_string(&unit, name).ok()?.slice()))
        };
        Some(UnitRoot { name: unit.name.map(|name| name.to_string_lossy()), split: split() })
    }

    /// True when not one unit of the program or its debug file can be read.
    pub(crate) fn is_broken(&self) -> bool {
        let main = self.files.get(MAIN);
        main.is_some_and(|file| !file.slots.is_empty() && file.slots.iter().all(Slot::is_broken))
    }

    /// True when a unit that was read leaves the rest to a split unit.
    pub(crate) fn has_skeletons(&self) -> bool {
        let slots = self.files.get(MAIN).map_or(&[][..], |file| file.slots.as_slice());
        let mut read = slots.iter().filter_map(|slot| slot.unit.get()?.as_ref());
        read.any(|unit| unit.dwo_id.is_some())
    }

    /// A unit cannot be read, or not to its end.
    pub(crate) fn note_broken(&self, id: UnitId, why: &impl Display) {
        if let Some(file) = self.files.get(id.file) {
            file.note_broken(why);
        }
    }

    /// Logs what could not be read: one line a file.
    pub(crate) fn warn_of_broken_units(&self) {
        for file in &self.files {
            let broken = file.broken.borrow();
            match broken.count {
                0 => {}
                1 => log::warn!("a unit of {} is left out: {}", file.name, broken.first),
                count => log::warn!(
                    "{count} units of {} are left out, the first: {}",
                    file.name,
                    broken.first
                ),
            }
        }
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

impl Slot<'_> {
    fn is_broken(&self) -> bool {
        self.unit.get().is_some_and(Option::is_none)
    }
}

impl<'d> File<'d> {
    fn new(
        name: &'static str,
        dwarf: Dwarf<Slice<'d>>,
        skeleton: Option<UnitId>,
    ) -> Result<Self, TooManyUnits> {
        let mut slots: Vec<Slot<'d>> = Vec::new();
        let mut add = |header| {
            slots.push(Slot { header, unit: OnceCell::new() });
            if slots.len() > MAX_UNITS { Err(TooManyUnits) } else { Ok(()) }
        };
        let mut units = dwarf.units();
        let mut in_info = 0;
        while let Ok(Some(header)) = units.next() {
            add(header)?;
            in_info += 1;
        }
        let mut units = dwarf.type_units();
        while let Ok(Some(header)) = units.next() {
            add(header)?;
        }
        let types = slots
            .iter()
            .enumerate()
            .filter_map(|(slot, unit)| match unit.header.type_() {
                UnitType::Type { type_signature, type_offset }
                | UnitType::SplitType { type_signature, type_offset } => {
                    Some((type_signature, (slot, type_offset)))
                }
                _ => None,
            })
            .collect();
        let broken = RefCell::default();
        Ok(Self { name, broken, dwarf, slots, in_info, types, skeleton })
    }

    /// A unit; none when it is broken.
    fn parse(&self, slot: &Slot<'d>) -> Option<Unit<Slice<'d>>> {
        let at = || slot.header.debug_info_offset().map_or(0, |offset| offset.0);
        Unit::new(&self.dwarf, slot.header)
            .inspect_err(|error| self.note_broken(&format_args!("{error} (at {:#x})", at())))
            .ok()
    }

    fn note_broken(&self, why: &impl Display) {
        let mut broken = self.broken.borrow_mut();
        if broken.count == 0 {
            broken.first = why.to_string();
        }
        broken.count += 1;
    }
}
