//! From debug information and a server definition to a profile.

mod layout;
mod sites;

use std::collections::BTreeMap;

use crate::dwarf::{Functions, Index, Types, Wanted};
use crate::elf::{Program, SymbolTable};
use crate::profile::{
    BinaryId, Missing, PROFILE_FORMAT, PageState, Profile, Rule, ServerId, Source,
};
use crate::reason::Reason;
use crate::server::{Definition, Operand};

/// What a profile is made from.
pub(crate) struct Facts<'a, 'd> {
    pub(crate) program: &'a Program,
    pub(crate) definition: &'a Definition,
    pub(crate) types: Types<'a, 'd>,
    pub(crate) functions: Functions<'a, 'd>,
    pub(crate) index: &'a Index,
    pub(crate) symbols: &'a SymbolTable,
}

/// The names that a definition asks the debug information for.
pub(crate) fn wanted(definition: &Definition) -> Wanted {
    let root = |path: &String| path.split('.').next().unwrap_or_default().to_owned();
    Wanted {
        types: definition
            .sizes
            .values()
            .cloned()
            .chain(definition.fields.values().map(root))
            .collect(),
        functions: definition.sites.values().map(|site| site.function.clone()).collect(),
        globals: definition.globals.values().cloned().collect(),
        enumerators: definition.enumerators().map(str::to_owned).collect(),
    }
}

/// Names of functions and variables that the symbol tables are asked for.
pub(crate) fn symbol_names(definition: &Definition) -> impl Iterator<Item = &str> {
    let functions = definition.sites.values().map(|site| site.function.as_str());
    functions.chain(definition.globals.values().map(String::as_str))
}

/// Makes the profile. What is not found stands in [`Profile::missing`].
pub(crate) fn profile(
    facts: &Facts<'_, '_>,
    server: ServerId,
    binary: BinaryId,
    source: Source,
) -> Profile {
    let mut missing = Vec::new();
    let enums = facts.enums(&mut missing);
    Profile {
        format: PROFILE_FORMAT,
        server,
        binary,
        source,
        sites: facts.sites(&mut missing),
        fields: facts.fields(&mut missing),
        sizes: facts.sizes(&mut missing),
        globals: facts.globals(&mut missing),
        states: facts.states(&enums, &mut missing),
        rules: facts.rules(&enums, &mut missing),
        enums,
        missing,
    }
}

impl Facts<'_, '_> {
    fn missing(&self, what: &str, role: &str, name: &str, reason: Reason) -> Missing {
        Missing {
            what: what.to_owned(),
            role: role.to_owned(),
            name: name.to_owned(),
            required: self.definition.is_required(role),
            reason,
        }
    }

    /// The recorded enumerators; the sources' values where debug information has none.
    fn enums(&self, missing: &mut Vec<Missing>) -> BTreeMap<String, i64> {
        let mut enums = self.definition.constants.clone();
        enums.extend(self.index.enumerators.clone());
        for name in self.definition.enums.iter().filter(|name| !enums.contains_key(*name)) {
            missing.push(self.missing("enum", name, name, Reason::NotInDebugInfo));
        }
        enums
    }

    fn states(
        &self,
        enums: &BTreeMap<String, i64>,
        missing: &mut Vec<Missing>,
    ) -> BTreeMap<i64, PageState> {
        let mut states = BTreeMap::new();
        for (name, state) in &self.definition.states {
            match enums.get(name) {
                Some(value) => {
                    states.insert(*value, *state);
                }
                None => missing.push(self.missing("enum", "state", name, Reason::NotInDebugInfo)),
            }
        }
        states
    }

    fn rules(&self, enums: &BTreeMap<String, i64>, missing: &mut Vec<Missing>) -> Vec<Rule> {
        let mut rules = Vec::new();
        for rule in &self.definition.rules {
            let value = match &rule.value {
                Operand::Number(number) => Some(*number),
                Operand::Enumerator(name) => {
                    let value = enums.get(name).copied();
                    if value.is_none() {
                        let reason = Reason::NotInDebugInfo;
                        missing.push(self.missing("enum", &rule.reason, name, reason));
                    }
                    value
                }
            };
            rules.extend(value.map(|value| Rule {
                field: rule.field.clone(),
                op: rule.op,
                value,
                mask: rule.mask,
                reason: rule.reason.clone(),
            }));
        }
        rules
    }
}
