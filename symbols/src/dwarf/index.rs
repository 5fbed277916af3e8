//! One walk over the chosen units: where the wanted names stand.
#![expect(non_upper_case_globals, reason = "constants are named as in the DWARF standard")]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use gimli::{
    DW_AT_const_value, DW_AT_declaration, DW_AT_import, DW_AT_location, DW_TAG_base_type,
    DW_TAG_class_type, DW_TAG_enumeration_type, DW_TAG_enumerator, DW_TAG_imported_unit,
    DW_TAG_inlined_subroutine, DW_TAG_namespace, DW_TAG_pointer_type, DW_TAG_structure_type,
    DW_TAG_subprogram, DW_TAG_typedef, DW_TAG_union_type, DW_TAG_variable, DwTag,
};

use super::info::{DieRef, UnitId};
use super::{DebugInfo, Die, MAX_ATTRIBUTES, MAX_CHAIN};

/// Names to look for.
#[derive(Debug, Default)]
pub(crate) struct WantedNames {
    /// Types, qualified where nested (`buf_pool_t::chunk_t`).
    pub(crate) types: BTreeSet<String>,
    /// Functions by linkage name.
    pub(crate) functions: BTreeSet<String>,
    /// Variables by linkage name, or name where they have none.
    pub(crate) globals: BTreeSet<String>,
    /// Enumerators.
    pub(crate) enumerators: BTreeSet<String>,
}

/// Where the wanted names stand.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Definitions of a type; a unit may have its own, all alike.
    pub(crate) types: BTreeMap<String, Vec<DieRef>>,
    /// Values of enumerators.
    pub(crate) enumerators: BTreeMap<String, i64>,
    /// Definitions of variables.
    pub(crate) globals: BTreeMap<String, Vec<DieRef>>,
    /// Every entry that describes a function: declaration, abstract instance, body, clone.
    functions: HashMap<DieRef, String>,
    /// Copies of any function, with what they are a copy of.
    copies: Vec<CopyRef>,
    /// Qualified names of declared types, for definitions that stand outside their namespace.
    declared: HashMap<DieRef, String>,
    walked: HashSet<UnitId>,
    /// Entries that describe a type, whatever it is called: where only lines are described (`-g1`),
    /// there is none.
    pub(crate) type_entries: usize,
}

/// A body or an inlined copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CopyRef {
    pub(crate) die: DieRef,
    /// What it is a copy of; none when the entry has its own name.
    origin: Option<DieRef>,
    /// The function it was inlined into.
    pub(crate) caller: Option<DieRef>,
}

/// An open scope during the walk.
struct Scope {
    depth: isize,
    tag: DwTag,
    die: DieRef,
    name: Option<String>,
}

impl Index {
    /// Walks `unit` and the partial units that it imports, once.
    pub(crate) fn walk(&mut self, info: &DebugInfo<'_>, unit: UnitId, wanted: &WantedNames) {
        let mut queue = vec![unit];
        while let Some(unit) = queue.pop() {
            if self.walked.insert(unit)
                && let Err(error) = (Walk { index: self, info, unit, wanted }).run(&mut queue)
            {
                info.note_broken(unit, &error);
            }
        }
    }

    /// Ends the indexing: every entry whose chain of origins leads to a wanted function is one of
    /// its descriptions. Copies of other functions are dropped.
    pub(crate) fn link(&mut self) {
        for _ in 0..MAX_CHAIN {
            let before = self.functions.len();
            for copy in self.copies.iter().filter(|copy| copy.caller.is_none()) {
                if let Some(name) = copy.origin.and_then(|o| self.functions.get(&o)).cloned() {
                    self.functions.entry(copy.die).or_insert(name);
                }
            }
            if self.functions.len() == before {
                break;
            }
        }
        let functions = &self.functions;
        self.copies.retain(|copy| functions.contains_key(&copy.origin.unwrap_or(copy.die)));
    }

    /// Copies of the function with linkage name `name`, in the order of the walk.
    pub(crate) fn copies(&self, name: &str) -> impl Iterator<Item = CopyRef> {
        self.copies.iter().copied().filter(move |copy| {
            self.functions.get(&copy.origin.unwrap_or(copy.die)).is_some_and(|n| n == name)
        })
    }

    /// True when something describes the function, if only a declaration.
    pub(crate) fn knows_function(&self, name: &str) -> bool {
        self.functions.values().any(|known| known == name)
    }
}

/// The walk over one unit.
struct Walk<'w, 'd> {
    index: &'w mut Index,
    info: &'w DebugInfo<'d>,
    unit: UnitId,
    wanted: &'w WantedNames,
}

impl<'d> Walk<'_, 'd> {
    fn run(mut self, imports: &mut Vec<UnitId>) -> Result<(), gimli::Error> {
        let Some(unit) = self.info.unit(self.unit) else { return Ok(()) };
        let mut entries = unit.entries_raw(None)?;
        let mut entry = Die::null();
        let mut scopes: Vec<Scope> = Vec::new();
        while !entries.is_empty() {
            if !entries.read_entry(&mut entry)? {
                continue;
            }
            if entry.attrs().len() > MAX_ATTRIBUTES {
                self.info.note_broken(self.unit, &"an entry of too many attributes");
                return Ok(());
            }
            while scopes.last().is_some_and(|scope| scope.depth >= entry.depth()) {
                scopes.pop();
            }
            if entry.tag() == DW_TAG_imported_unit {
                let target = entry.attr_value(DW_AT_import);
                let target = target.and_then(|value| self.info.follow(self.unit, &value));
                imports.extend(target.map(|die| die.unit));
            } else {
                self.note(&entry, &scopes);
            }
            if opens_scope(entry.tag()) && entry.has_children() {
                scopes.push(self.scope(&entry));
            }
        }
        Ok(())
    }

    fn note(&mut self, entry: &Die<'d>, scopes: &[Scope]) {
        let die = self.die(entry);
        if matches!(entry.tag(), DW_TAG_base_type | DW_TAG_pointer_type) {
            self.index.type_entries += 1;
        }
        match entry.tag() {
            DW_TAG_structure_type | DW_TAG_class_type | DW_TAG_union_type | DW_TAG_typedef => {
                self.note_type(entry, scopes);
            }
            DW_TAG_enumerator => self.note_enumerator(entry),
            DW_TAG_variable if caller(scopes).is_none() => self.note_global(entry),
            DW_TAG_subprogram => self.note_function(entry),
            DW_TAG_inlined_subroutine => {
                let origin = self.info.origin(self.unit, entry);
                self.index.copies.push(CopyRef { die, origin, caller: caller(scopes) });
            }
            _ => {}
        }
    }

    fn note_type(&mut self, entry: &Die<'d>, scopes: &[Scope]) {
        let Some(name) = self.info.name(self.unit, entry) else { return };
        let last = |wanted: &String| wanted.rsplit("::").next() == Some(&name);
        if !self.wanted.types.iter().any(last) {
            return;
        }
        let specified = self.info.origin(self.unit, entry);
        let declared = specified.and_then(|declaration| self.index.declared.get(&declaration));
        let qualified = declared.cloned().unwrap_or_else(|| {
            let scopes = scopes.iter().filter_map(|scope| scope.name.as_deref());
            scopes.chain([name.as_ref()]).collect::<Vec<_>>().join("::")
        });
        let die = self.die(entry);
        if entry.attr(DW_AT_declaration).is_some() {
            self.index.declared.insert(die, qualified);
        } else if self.wanted.types.contains(&qualified) {
            self.index.types.entry(qualified).or_default().push(die);
        }
    }

    fn note_enumerator(&mut self, entry: &Die<'d>) {
        let Some(name) = self.info.name(self.unit, entry) else { return };
        if !self.wanted.enumerators.contains(name.as_ref()) {
            return;
        }
        let value = entry.attr_value(DW_AT_const_value);
        let value =
            value.and_then(|v| v.sdata_value().or_else(|| v.udata_value()?.try_into().ok()));
        if let Some(value) = value {
            self.index.enumerators.insert(name.into(), value);
        }
    }

    fn note_global(&mut self, entry: &Die<'d>) {
        // Only a definition has a location.
        if entry.attr(DW_AT_location).is_none() {
            return;
        }
        let die = self.die(entry);
        let wanted = |name: &Cow<'_, str>| self.wanted.globals.contains(name.as_ref());
        if let Some(name) = self.info.symbol(die).filter(wanted) {
            self.index.globals.entry(name.into()).or_default().push(die);
        }
    }

    fn note_function(&mut self, entry: &Die<'d>) {
        let die = self.die(entry);
        let origin = self.info.origin(self.unit, entry);
        let name = self.info.own_symbol(self.unit, entry);
        match name.filter(|name| self.wanted.functions.contains(name.as_ref())) {
            Some(name) => {
                self.index.functions.insert(die, name.into());
                self.index.copies.push(CopyRef { die, origin: None, caller: None });
            }
            None if origin.is_some() => {
                self.index.copies.push(CopyRef { die, origin, caller: None });
            }
            None => {}
        }
    }

    fn scope(&self, entry: &Die<'d>) -> Scope {
        // Functions do not qualify the names of their local types here.
        let named = entry.tag() != DW_TAG_subprogram;
        let name = named.then(|| self.info.name(self.unit, entry)).flatten();
        Scope {
            depth: entry.depth(),
            tag: entry.tag(),
            die: self.die(entry),
            name: name.map(Into::into),
        }
    }

    fn die(&self, entry: &Die<'d>) -> DieRef {
        DieRef { unit: self.unit, offset: entry.offset() }
    }
}

fn opens_scope(tag: DwTag) -> bool {
    matches!(
        tag,
        DW_TAG_namespace
            | DW_TAG_structure_type
            | DW_TAG_class_type
            | DW_TAG_union_type
            | DW_TAG_enumeration_type
            | DW_TAG_subprogram
    )
}

/// The innermost function that is open.
fn caller(scopes: &[Scope]) -> Option<DieRef> {
    scopes.iter().rev().find(|scope| scope.tag == DW_TAG_subprogram).map(|scope| scope.die)
}
