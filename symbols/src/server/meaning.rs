//! What a definition states of a descriptor's fields, with the enumerators of one build.

use std::collections::BTreeMap;

use super::Definition;
use super::names::{ConditionNames, Operand};
use crate::profile::{CleanRule, Condition, Io, Missing, States};
use crate::reason::UnresolvedReason;
use crate::role::Role;

/// All conditions on descriptors.
pub(crate) struct Meaning {
    pub(crate) states: Vec<States>,
    pub(crate) rules: Vec<CleanRule>,
    pub(crate) io: Option<Io>,
}

impl Definition {
    /// Its conditions with these enumerators; what lacks one is left out, and stands in `missing`.
    pub(crate) fn meaning(
        &self,
        enums: &BTreeMap<String, i64>,
        missing: &mut Vec<Missing>,
    ) -> Meaning {
        let mut resolver = Resolver { enums, missing };
        let states = self.states.iter().filter_map(|state| {
            let first = resolver.number("state", &state.value)?.cast_unsigned();
            let last = state.last.map_or(first, i64::cast_unsigned);
            Some(States { mask: state.mask, first, last, holds: state.holds })
        });
        let states = states.collect();
        let rules = self.rules.iter().filter_map(|rule| {
            let condition = resolver.condition(rule.reason.name(), &rule.condition)?;
            Some(CleanRule { condition, reason: rule.reason })
        });
        let rules = rules.collect();
        let reading = resolver.condition("io", &self.io.reading);
        let writing = resolver.condition("io", &self.io.writing);
        let io = reading.zip(writing).map(|(reading, writing)| Io { reading, writing });
        Meaning { states, rules, io }
    }

    /// Every operand of its conditions.
    pub(super) fn operands(&self) -> impl Iterator<Item = &Operand> {
        let of_rules = self.rules.iter().map(|rule| &rule.condition.value);
        let of_io = [&self.io.reading.value, &self.io.writing.value];
        self.states.iter().map(|state| &state.value).chain(of_rules).chain(of_io)
    }
}

struct Resolver<'a> {
    enums: &'a BTreeMap<String, i64>,
    missing: &'a mut Vec<Missing>,
}

impl Resolver<'_> {
    fn condition(&mut self, wanted_for: &str, names: &ConditionNames) -> Option<Condition> {
        let value = self.number(wanted_for, &names.value)?;
        let ConditionNames { field, op, last, mask, .. } = *names;
        Some(Condition { field, op, value, last, mask })
    }

    fn number(&mut self, wanted_for: &str, operand: &Operand) -> Option<i64> {
        let name = match operand {
            Operand::Number(number) => return Some(*number),
            Operand::Enumerator(name) => name,
        };
        let found = self.enums.get(name).copied();
        if found.is_none() {
            self.missing.push(Missing {
                role: Role::Condition(wanted_for.to_owned()),
                name: name.clone(),
                required: true,
                reason: UnresolvedReason::NotInDebugInfo,
            });
        }
        found
    }
}
