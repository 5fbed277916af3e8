//! Places to probe.

use std::collections::BTreeMap;

use super::DebugFacts;
use crate::addr::LinkAddr;
use crate::dwarf::{Copy, CopyKind};
use crate::elf::Symbol;
use crate::profile::{ArgLoc, Missing, Site, SiteKind};
use crate::reason::UnresolvedReason;
use crate::role::{Role, SiteRole};
use crate::server::SiteNames;
use crate::site::{self, ABI_ARGUMENTS, ProbeAddress};

impl DebugFacts<'_, '_> {
    pub(super) fn sites(&self, missing: &mut Vec<Missing>) -> BTreeMap<SiteRole, Vec<Site>> {
        let mut sites = BTreeMap::new();
        // A server whose events are not known can be scanned.
        for role in SiteRole::RESIDENCY {
            if !self.definition.sites.contains_key(&role) {
                let (name, reason) = (role.name().to_owned(), UnresolvedReason::NotInDefinition);
                missing.push(Missing { role: Role::Site(role), name, required: false, reason });
            }
        }
        for (role, names) in &self.definition.sites {
            let mut found = Vec::new();
            for site in names.iter().flat_map(|names| self.sites_of(names)) {
                match site {
                    Ok(site) => found.push(site),
                    Err((name, reason)) => {
                        missing.push(self.missing(Role::Site(*role), &name, reason));
                    }
                }
            }
            if !found.is_empty() {
                sites.insert(*role, found);
            }
        }
        sites
    }

    /// A site for each copy of a function, or the name of the copy and why it can have none.
    fn sites_of(&self, names: &SiteNames) -> Vec<Result<Site, (String, UnresolvedReason)>> {
        let copies = self.functions.copies(&names.function);
        let symbols = self.symbols.get(&names.function);
        if !copies.is_empty() {
            return copies.iter().map(|copy| self.site_of_copy(copy, names)).collect();
        }
        if !symbols.is_empty() {
            return symbols.iter().map(|symbol| self.site_of_symbol(symbol, names)).collect();
        }
        let reason = match self.index.knows_function(&names.function) {
            true => UnresolvedReason::InlinedAway,
            false => UnresolvedReason::NotInDebugInfo,
        };
        vec![Err((names.function.clone(), reason))]
    }

    fn site_of_copy(
        &self,
        copy: &Copy,
        names: &SiteNames,
    ) -> Result<Site, (String, UnresolvedReason)> {
        let (function, kind) = self.name_of(copy);
        // At its entry a body has its arguments where the ABI puts them, unless the compiler changed
        // the signature: then the debug information shows it.
        let by_abi = |at: &ArgLoc, position: usize| match (kind, at, ABI_ARGUMENTS.get(position)) {
            (_, ArgLoc::Register { .. } | ArgLoc::Constant { .. }, _) => *at,
            (SiteKind::Function, _, Some(reg)) => ArgLoc::Register { reg: *reg },
            _ => *at,
        };
        let args_at = |at: LinkAddr| -> Vec<ArgLoc> {
            let each = names.args.iter();
            each.map(|n| by_abi(&self.functions.argument(copy, *n, at), *n)).collect()
        };
        let at_entry = args_at(copy.entry);
        let probe = match kind {
            // Code around an inlined copy may jump anywhere into it.
            SiteKind::Inlined => site::probe_at(self.program, copy.entry),
            SiteKind::Function | SiteKind::Clone => {
                let len = length(copy);
                site::choose(self.program, copy.entry, len, &registers(&at_entry))
            }
        };
        let probe = probe.ok_or_else(|| (function.clone(), UnresolvedReason::OptimisedOut))?;
        let mut args = match kind {
            // The registers of the arguments are unchanged since the entry.
            SiteKind::Function => at_entry,
            SiteKind::Clone | SiteKind::Inlined => args_at(probe.addr),
        };
        if let (SiteKind::Inlined, Some(stored)) = (kind, self.stored_to(names, probe.addr)) {
            for arg in args.iter_mut().filter(|arg| **arg == ArgLoc::Unknown) {
                *arg = stored;
            }
        }
        if args.contains(&ArgLoc::Unknown) {
            let name = match kind {
                SiteKind::Inlined => format!("{} in {function} at {}", names.function, copy.entry),
                SiteKind::Function | SiteKind::Clone => function,
            };
            return Err((name, UnresolvedReason::OptimisedOut));
        }
        Ok(self.make(function, copy.entry, probe, kind, args))
    }

    /// The object of a copy whose code is a store to one of its fields, by that instruction.
    fn stored_to(&self, names: &SiteNames, at: LinkAddr) -> Option<ArgLoc> {
        let path = self.definition.fields.get(names.stores.as_ref()?)?;
        let field = self.types.field(path).ok()?;
        let reg = site::stores_to(self.program, at, field.offset, field.size)?;
        Some(ArgLoc::Register { reg })
    }

    /// Symbol name and kind of a copy. Only the symbol table knows a clone by its suffix.
    fn name_of(&self, copy: &Copy) -> (String, SiteKind) {
        if copy.kind == CopyKind::Inlined {
            return (copy.function.clone(), SiteKind::Inlined);
        }
        let mut symbols = self.symbols.get(&copy.function).iter();
        let name = symbols.find(|s| s.addr == copy.entry).map_or(&copy.function, |s| &s.name);
        let kind = if *name == copy.function { SiteKind::Function } else { SiteKind::Clone };
        (name.clone(), kind)
    }

    /// A function that has a name but no description: the ABI must do. A clone may have another
    /// signature, so it gets no site.
    fn site_of_symbol(
        &self,
        symbol: &Symbol,
        names: &SiteNames,
    ) -> Result<Site, (String, UnresolvedReason)> {
        let args = names.args.iter().map(|n| ABI_ARGUMENTS.get(*n));
        let args: Option<Vec<ArgLoc>> =
            args.map(|reg| Some(ArgLoc::Register { reg: *reg? })).collect();
        let args = args
            .filter(|_| symbol.name == names.function)
            .ok_or_else(|| (symbol.name.clone(), UnresolvedReason::OptimisedOut))?;
        let probe = site::choose(self.program, symbol.addr, symbol.size, &registers(&args))
            .ok_or_else(|| (symbol.name.clone(), UnresolvedReason::NoSuchSymbol))?;
        Ok(self.make(symbol.name.clone(), symbol.addr, probe, SiteKind::Function, args))
    }

    fn make(
        &self,
        function: String,
        entry: LinkAddr,
        probe: ProbeAddress,
        kind: SiteKind,
        args: Vec<ArgLoc>,
    ) -> Site {
        Site {
            function,
            entry,
            probe: probe.addr,
            file_offset: probe.file_offset,
            instruction: probe.instruction,
            code: site::code(self.program, entry, &probe),
            text: probe.text,
            kind,
            args,
        }
    }
}

/// Bytes of the range that the entry starts; 0 when it starts none.
fn length(copy: &Copy) -> u64 {
    let range = copy.ranges.iter().find(|range| range.begin == copy.entry.0);
    range.map_or(0, |range| range.end - range.begin)
}

fn registers(args: &[ArgLoc]) -> Vec<u16> {
    args.iter()
        .filter_map(|arg| match arg {
            ArgLoc::Register { reg } | ArgLoc::Memory { reg, .. } => Some(*reg),
            ArgLoc::Constant { .. } | ArgLoc::Unknown => None,
        })
        .collect()
}
