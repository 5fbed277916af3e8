//! Copies of a function in the machine code, and where their arguments stand.

use gimli::{
    DW_AT_abstract_origin, DW_AT_const_value, DW_AT_entry_pc, DW_AT_frame_base, DW_AT_high_pc,
    DW_AT_location, DW_AT_low_pc, DW_AT_ranges, DW_TAG_formal_parameter, DwAt, Format, Range,
    UnitRef,
};

use super::frame::UnwindTable;
use super::index::CopyRef;
use super::info::DieRef;
use super::location::{self, Base};
use super::{DebugInfo, Die, Index, MAX_CHAIN, Slice, Value};
use crate::addr::LinkAddr;
use crate::profile::ArgLoc;

/// Most children of a function that are looked at for parameters; they come first.
const MAX_CHILDREN: usize = 4096;

/// Most address ranges of one copy. Compilers make two (hot and cold), seldom ten.
const MAX_RANGES: usize = 256;

/// Body or inlined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyKind {
    /// Out of line: called.
    Body,
    /// Part of another function.
    Inlined,
}

/// One copy of a function.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub(crate) kind: CopyKind,
    /// Symbol name of the function, or of the one that it was inlined into.
    pub(crate) function: String,
    pub(crate) entry: LinkAddr,
    /// Its code; the entry lies in one of them.
    pub(crate) ranges: Vec<Range>,
    at: CopyRef,
}

/// Questions about the functions of an [`Index`].
#[derive(Clone, Copy)]
pub(crate) struct Functions<'a, 'd> {
    pub(crate) info: &'a DebugInfo<'d>,
    pub(crate) index: &'a Index,
    pub(crate) frames: &'a UnwindTable<'a>,
}

impl<'d> Functions<'_, 'd> {
    /// Copies of the function with linkage name `name` that have code.
    pub(crate) fn copies(&self, name: &str) -> Vec<Copy> {
        let mut copies: Vec<Copy> =
            self.index.copies(name).filter_map(|at| self.copy(name, at)).collect();
        copies.sort_by_key(|copy| copy.entry);
        // A unit that was walked under two names (LTO, dwz) must not double a copy.
        copies.dedup_by_key(|copy| copy.entry);
        copies
    }

    fn copy(&self, name: &str, at: CopyRef) -> Option<Copy> {
        let entry = self.info.entry(at.die)?;
        let unit = self.info.unit(at.die.unit)?;
        let ranges = ranges(unit, &entry)?;
        let first = ranges.first()?.begin;
        let address = |attr: DwAt| {
            entry.attr_value(attr).and_then(|v| match v.udata_value() {
                // DWARF 5: an offset from the lowest address.
                Some(offset) => first.checked_add(offset),
                None => unit.attr_address(v).ok().flatten(),
            })
        };
        let start = address(DW_AT_entry_pc).or_else(|| address(DW_AT_low_pc)).unwrap_or(first);
        let (kind, function) = match at.caller {
            None => (CopyKind::Body, name.to_owned()),
            Some(caller) => (CopyKind::Inlined, self.info.symbol(caller)?.into_owned()),
        };
        // Address 0 marks code that the linker dropped.
        (start != 0).then_some(Copy { kind, function, entry: LinkAddr(start), ranges, at })
    }

    /// Where parameter number `position` (from 0, `this` counts) of a copy stands when the
    /// instruction at `at` is about to run.
    pub(crate) fn argument(&self, copy: &Copy, position: usize, at: LinkAddr) -> ArgLoc {
        self.parameter(copy.at.die, position)
            .and_then(|parameter| self.locate(copy, &parameter, at))
            .unwrap_or(ArgLoc::Unknown)
    }

    fn locate(&self, copy: &Copy, parameter: &Die<'d>, at: LinkAddr) -> Option<ArgLoc> {
        let unit = copy.at.die.unit;
        if let Some(value) = parameter.attr_value(DW_AT_const_value) {
            let value = value.udata_value().or_else(|| Some(value.sdata_value()?.cast_unsigned()));
            return value.map(|value| ArgLoc::Constant { value });
        }
        let expression = self.expression(copy.at.die, parameter, DW_AT_location, at)?;
        let encoding = self.info.unit(unit)?.encoding();
        let base = || {
            let function = copy.at.caller.unwrap_or(copy.at.die);
            let entry = self.info.entry(function)?;
            let expression = self.expression(function, &entry, DW_AT_frame_base, at)?;
            let encoding = self.info.unit(function.unit)?.encoding();
            Base::of(expression, encoding, || self.frames.cfa(at))
        };
        Some(location::evaluate(expression, encoding, base))
    }

    /// The expression of a location attribute that holds at `at`: the only one, or of a list.
    fn expression(
        &self,
        owner: DieRef,
        entry: &Die<'d>,
        attr: DwAt,
        at: LinkAddr,
    ) -> Option<gimli::Expression<Slice<'d>>> {
        let value: Value<'d> = entry.attr_value(attr)?;
        if let Some(expression) = value.exprloc_value() {
            return Some(expression);
        }
        let unit = self.info.unit(owner.unit)?;
        if leads_too_far(unit, &value) {
            return None;
        }
        let mut list = unit.attr_locations(value).ok()??;
        while let Some(item) = list.next().ok()? {
            if (item.range.begin..item.range.end).contains(&at.0) {
                return Some(item.data);
            }
        }
        None
    }

    /// The entry of parameter number `position` below `function`. A copy may leave parameters out,
    /// so each is counted by the one it stands for in the abstract instance.
    fn parameter(&self, function: DieRef, position: usize) -> Option<Die<'d>> {
        let own = self.parameters(function);
        let mut origin = function;
        for _ in 0..MAX_CHAIN {
            let entry = self.info.entry(origin)?;
            let Some(next) = self.info.origin(origin.unit, &entry) else { break };
            origin = next;
            let Some(wanted) = self.parameters(origin).into_iter().nth(position) else { continue };
            let wanted = DieRef { unit: origin.unit, offset: wanted.offset() };
            let stands_for = |die: &Die<'d>| {
                let value = die.attr_value(DW_AT_abstract_origin)?;
                self.info.follow(function.unit, &value)
            };
            if own.iter().any(|die| stands_for(die).is_some()) {
                return own.into_iter().find(|die| stands_for(die) == Some(wanted));
            }
        }
        own.into_iter().nth(position)
    }

    fn parameters(&self, function: DieRef) -> Vec<Die<'d>> {
        let mut children = self.info.children(function, MAX_CHILDREN);
        children.retain(|die| die.tag() == DW_TAG_formal_parameter);
        children
    }
}

/// The addresses of an entry, those of no length left out. Not by `die_ranges`, whose sum of start and length may
/// overflow.
fn ranges<'d>(unit: UnitRef<'_, Slice<'d>>, entry: &Die<'d>) -> Option<Vec<Range>> {
    let mut ranges = Vec::new();
    if let Some(value) = entry.attr_value(DW_AT_ranges)
        && !leads_too_far(unit, &value)
        && let Some(mut list) = unit.attr_ranges(value).ok()?
    {
        while let Some(range) = list.next().ok()?.filter(|_| ranges.len() < MAX_RANGES) {
            ranges.push(range);
        }
    } else {
        let begin = unit.attr_address(entry.attr_value(DW_AT_low_pc)?).ok()??;
        let end = match entry.attr_value(DW_AT_high_pc)? {
            Value::Udata(len) => begin.checked_add(len)?,
            value => unit.attr_address(value).ok()??,
        };
        ranges.push(Range { begin, end });
    }
    ranges.retain(|range| range.begin < range.end);
    Some(ranges)
}

/// Whether the offset that an index of 64-bit DWARF stands for may be any number: gimli adds it to the base of its unit
/// unchecked. No server has so much debug information.
fn leads_too_far(unit: UnitRef<'_, Slice<'_>>, value: &Value<'_>) -> bool {
    let indexed = matches!(value, Value::DebugRngListsIndex(_) | Value::DebugLocListsIndex(_));
    indexed && unit.encoding().format == Format::Dwarf64
}
