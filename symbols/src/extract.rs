//! From debug information and a server definition to a profile.

mod layout;
mod sites;

use std::collections::BTreeMap;

use crate::dwarf::{Functions, Index, Types, WantedNames};
use crate::elf::{Program, SymbolTable};
use crate::profile::{BinaryId, Missing, PROFILE_FORMAT, Profile, ServerId, Source};
use crate::reason::UnresolvedReason;
use crate::role::Role;
use crate::server::Definition;

/// What a profile is made from.
pub(crate) struct DebugFacts<'a, 'd> {
    pub(crate) program: &'a Program,
    pub(crate) definition: &'a Definition,
    pub(crate) types: Types<'a, 'd>,
    pub(crate) functions: Functions<'a, 'd>,
    pub(crate) index: &'a Index,
    pub(crate) symbols: &'a SymbolTable,
}

/// The names that a definition needs of the debug information.
pub(crate) fn wanted(definition: &Definition) -> WantedNames {
    let root = |path: &String| path.split('.').next().unwrap_or_default().to_owned();
    WantedNames {
        types: definition
            .sizes
            .values()
            .cloned()
            .chain(definition.fields.values().map(root))
            .collect(),
        functions: definition.functions().map(str::to_owned).collect(),
        globals: definition.globals.values().cloned().collect(),
        enumerators: definition.enumerators().map(str::to_owned).collect(),
    }
}

/// Names of functions and variables that are looked up in the symbol tables.
pub(crate) fn symbol_names(definition: &Definition) -> impl Iterator<Item = &str> {
    definition.functions().chain(definition.globals.values().map(String::as_str))
}

/// Makes the profile. What is not found stands in [`Profile::missing`].
pub(crate) fn profile(
    facts: &DebugFacts<'_, '_>,
    server: ServerId,
    binary: BinaryId,
    source: Source,
) -> Profile {
    let mut missing = Vec::new();
    let enums = facts.enums(&mut missing);
    let meaning = facts.definition.meaning(&enums, &mut missing);
    Profile {
        format: PROFILE_FORMAT,
        server,
        binary,
        source,
        sites: facts.sites(&mut missing),
        fields: facts.fields(&mut missing),
        sizes: facts.sizes(&mut missing),
        globals: facts.globals(&mut missing),
        topology: facts.definition.topology,
        states: meaning.states,
        rules: meaning.rules,
        io: meaning.io,
        off_flush_list: facts.definition.off_flush_list.clone(),
        enums,
        missing,
    }
}

impl DebugFacts<'_, '_> {
    fn missing(&self, role: Role, name: &str, reason: UnresolvedReason) -> Missing {
        let required = self.definition.is_required(&role);
        Missing { role, name: name.to_owned(), required, reason }
    }

    /// The recorded enumerators; the sources' values where debug information has none.
    fn enums(&self, missing: &mut Vec<Missing>) -> BTreeMap<String, i64> {
        let mut enums = self.definition.constants.clone();
        enums.extend(self.index.enumerators.clone());
        for name in self.definition.enums.iter().filter(|name| !enums.contains_key(*name)) {
            missing.push(self.missing(
                Role::Enum(name.clone()),
                name,
                UnresolvedReason::NotInDebugInfo,
            ));
        }
        enums
    }
}
