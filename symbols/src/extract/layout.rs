//! Sizes, fields and globals.

use std::collections::BTreeMap;

use gimli::{AttributeValue, DW_AT_location, DW_AT_type, Operation};

use super::DebugFacts;
use crate::addr::LinkAddr;
use crate::dwarf::DieRef;
use crate::profile::{Field, Global, Missing};
use crate::reason::UnresolvedReason;
use crate::role::{FieldRole, GlobalRole, Role, SizeRole};

impl DebugFacts<'_, '_> {
    pub(super) fn sizes(&self, missing: &mut Vec<Missing>) -> BTreeMap<SizeRole, u64> {
        let mut sizes = BTreeMap::new();
        for (role, name) in &self.definition.sizes {
            match self.types.size(name) {
                Ok(size) => {
                    sizes.insert(*role, size);
                }
                Err(reason) => missing.push(self.missing(Role::Size(*role), name, reason)),
            }
        }
        sizes
    }

    pub(super) fn fields(&self, missing: &mut Vec<Missing>) -> BTreeMap<FieldRole, Field> {
        let mut fields = BTreeMap::new();
        for (role, path) in &self.definition.fields {
            match self.types.field(path) {
                Ok(place) => {
                    let (offset, size, bits) = (place.offset, place.size, place.bits);
                    let field = Field { path: path.clone(), offset, size, bits };
                    fields.insert(*role, field);
                }
                Err(reason) => missing.push(self.missing(Role::Field(*role), path, reason)),
            }
        }
        fields
    }

    pub(super) fn globals(&self, missing: &mut Vec<Missing>) -> BTreeMap<GlobalRole, Global> {
        let mut globals = BTreeMap::new();
        for (role, name) in &self.definition.globals {
            match self.global(name) {
                Ok(global) => {
                    globals.insert(*role, global);
                }
                Err(reason) => missing.push(self.missing(Role::Global(*role), name, reason)),
            }
        }
        globals
    }

    fn global(&self, name: &str) -> Result<Global, UnresolvedReason> {
        let definitions = self.index.globals.get(name).map_or(&[][..], Vec::as_slice);
        let of_debug_info = definitions.iter().find_map(|die| self.variable(*die));
        let symbol = self.symbols.get(name).first();
        let (addr, size) = match (of_debug_info, symbol) {
            (Some((addr, size)), symbol) => (addr, size.or(symbol.map(|s| s.size))),
            (None, Some(symbol)) => (symbol.addr, Some(symbol.size)),
            // Described, but with no place of its own in memory.
            (None, None) if !definitions.is_empty() => return Err(UnresolvedReason::OptimisedOut),
            (None, None) => return Err(UnresolvedReason::NotInDebugInfo),
        };
        Ok(Global { name: name.to_owned(), addr, size: size.unwrap_or(0) })
    }

    /// Address and size of a variable that has a fixed address.
    fn variable(&self, die: DieRef) -> Option<(LinkAddr, Option<u64>)> {
        let info = self.types.info;
        let unit = info.unit(die.unit)?;
        let entry = info.entry(die)?;
        let expression = entry.attr_value(DW_AT_location)?.exprloc_value()?;
        let mut operations = expression.operations(unit.encoding());
        let addr = match (operations.next().ok()??, operations.next().ok()?) {
            (Operation::Address { address }, None) => address,
            (Operation::AddressIndex { index }, None) => unit.address(index).ok()?,
            _ => return None,
        };
        let size = self.type_of(die).and_then(|of| self.types.size_of(of));
        // Address 0 marks data that the linker dropped.
        (addr != 0).then_some((LinkAddr(addr), size))
    }

    /// The type of a variable; a definition may leave it to its declaration.
    fn type_of(&self, die: DieRef) -> Option<DieRef> {
        let info = self.types.info;
        let entry = info.entry(die)?;
        let own: Option<AttributeValue<_>> = entry.attr_value(DW_AT_type);
        match own {
            Some(value) => info.follow(die.unit, &value),
            None => {
                let declaration = info.origin(die.unit, &entry)?;
                let value = info.entry(declaration)?.attr_value(DW_AT_type)?;
                info.follow(declaration.unit, &value)
            }
        }
    }
}
