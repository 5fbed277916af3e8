//! The profile of a known build, made true of its kin.

use std::collections::BTreeMap;

use super::fingerprint::{Build, Fingerprint};
use super::matching::{Match, Matching, data};
use super::{KinError, Unconfirmed};
use crate::addr::LinkAddr;
use crate::elf::Program;
use crate::profile::{ArgLoc, Global, Missing, Profile, Site, SiteKind};
use crate::reason::UnresolvedReason;
use crate::role::Role;
use crate::server::Definition;
use crate::site::{self, ProbeAddress};
use crate::symbol_list::SymbolList;

/// Fewest uses by which a variable is found.
const FEWEST_USES: u32 = 3;

pub(super) struct Translation<'a> {
    pub(super) name: &'a str,
    pub(super) known: &'a Fingerprint,
    pub(super) program: &'a Program,
    pub(super) build: &'a Build,
    pub(super) matching: &'a Matching,
    /// What the list of the program's names says.
    pub(super) list: Option<&'a SymbolList>,
}

impl Translation<'_> {
    /// The profile with the places of this build. What is not found again and not needed is missing in it.
    pub(super) fn of(
        &self,
        profile: &Profile,
        definition: &Definition,
    ) -> Result<Profile, KinError> {
        let mut made =
            Profile { sites: BTreeMap::new(), globals: BTreeMap::new(), ..profile.clone() };
        for (role, sites) in &profile.sites {
            let required = definition.is_required(&Role::Site(*role));
            let found: Result<Vec<Site>, KinError> =
                sites.iter().map(|site| self.site(site, required)).collect();
            let name = sites.first().map(|site| &*site.function).unwrap_or_default();
            if let Some(found) =
                self.needed(definition, &mut made, Role::Site(*role), name, found)?
            {
                made.sites.insert(*role, found);
            }
        }
        let data = data(self.known, self.build, self.matching);
        for (role, global) in &profile.globals {
            let found = self.global(global, &data);
            let role_of = Role::Global(*role);
            if let Some(addr) = self.needed(definition, &mut made, role_of, &global.name, found)? {
                made.globals.insert(*role, Global { addr, ..global.clone() });
            }
        }
        self.agrees(&made)?;
        Ok(made)
    }

    /// What was found; nothing, and a note of it, where it was not and can be done without.
    fn needed<T>(
        &self,
        definition: &Definition,
        made: &mut Profile,
        role: Role,
        name: &str,
        found: Result<T, KinError>,
    ) -> Result<Option<T>, KinError> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error) if definition.is_required(&role) => Err(error),
            Err(error) => {
                log::debug!("{error}");
                let reason = UnresolvedReason::OtherCode;
                made.missing.push(Missing { role, name: name.to_owned(), required: false, reason });
                Ok(None)
            }
        }
    }

    fn unconfirmed(&self, name: &str, why: Unconfirmed) -> KinError {
        KinError::Unconfirmed { known: self.name.to_owned(), name: name.to_owned(), why }
    }

    /// A site: as far inside the same function. What is not required may have its place by its name alone.
    fn site(&self, site: &Site, required: bool) -> Result<Site, KinError> {
        let refused = |why| self.unconfirmed(&site.function, why);
        let by_list = || if required { None } else { self.listed(site) };
        let holds =
            |f: &super::fingerprint::KnownFunction| f.holds(site.entry.0) && f.holds(site.probe.0);
        let index = self.known.functions.iter().position(holds);
        let Some(index) = index else {
            return by_list().ok_or_else(|| refused(Unconfirmed::NotStored));
        };
        let Match::Is(number) = self.matching.found[index] else {
            let found = self.exported(site).or_else(by_list);
            return found.ok_or_else(|| refused(Unconfirmed::Ambiguous));
        };
        let from = self.known.functions[index].start;
        let to = self.build.extents.as_slice()[number].start;
        let moved = |addr: LinkAddr| LinkAddr(addr.0 - from + to);
        let entry = moved(site.entry);
        let probe = site::probe_at(self.program, moved(site.probe))
            .filter(|probe| probe.instruction == site.instruction)
            .ok_or_else(|| refused(Unconfirmed::NoInstruction))?;
        Ok(self.moved(site, entry, probe))
    }

    /// The same site at another place.
    fn moved(&self, site: &Site, entry: LinkAddr, probe: ProbeAddress) -> Site {
        Site {
            entry,
            probe: probe.addr,
            file_offset: probe.file_offset,
            instruction: probe.instruction,
            code: site::code(self.program, entry, &probe),
            text: probe.text,
            ..site.clone()
        }
    }

    /// The site at the start of a function with other code, where the program exports it: its name has the types of its
    /// parameters, so they stand where they did.
    fn exported(&self, site: &Site) -> Option<Site> {
        let symbols = self.program.symbols([&*site.function]).ok()?;
        let [symbol] = symbols.get(&site.function) else { return None };
        self.at_start(site, symbol.addr, symbol.size)
    }

    /// The same where only the list of the program's names has the function, at one place, and the unwind table has one
    /// that starts there.
    fn listed(&self, site: &Site) -> Option<Site> {
        let [addr] = *self.list?.get(&site.function) else { return None };
        let extent = self.build.extents.as_slice()[self.build.extents.at(addr.0)?];
        if extent.start != addr.0 {
            return None;
        }
        self.at_start(site, addr, extent.end - extent.start)
    }

    /// The site at the start of the function at `addr`, of `size` bytes.
    fn at_start(&self, site: &Site, addr: LinkAddr, size: u64) -> Option<Site> {
        if site.kind != SiteKind::Function {
            return None;
        }
        let keep = site.args.iter().map(|arg| match arg {
            ArgLoc::Register { reg } => Some(*reg),
            _ => None,
        });
        let keep: Vec<u16> = keep.collect::<Option<_>>()?;
        let probe = site::choose(self.program, addr, size, &keep)?;
        Some(self.moved(site, addr, probe))
    }

    /// A variable: where all functions that use it agree.
    fn global(
        &self,
        global: &Global,
        data: &BTreeMap<u64, BTreeMap<u64, u32>>,
    ) -> Result<LinkAddr, KinError> {
        let refused = |why| self.unconfirmed(&global.name, why);
        let object = global.addr.0..global.addr.0.saturating_add(global.size.max(1));
        let mut by = BTreeMap::<u64, u32>::new();
        for (known, found) in data.range(object) {
            for (addr, uses) in found {
                *by.entry(addr.wrapping_sub(*known)).or_default() += uses;
            }
        }
        let mut ways = by.into_iter();
        match (ways.next(), ways.next()) {
            (Some((by, uses)), None) if uses >= FEWEST_USES => {
                Ok(LinkAddr(global.addr.0.wrapping_add(by)))
            }
            (_, Some(_)) => Err(refused(Unconfirmed::Disagreement)),
            _ => Err(refused(Unconfirmed::FewUses)),
        }
    }

    /// What the program's own symbols name must be at their addresses, and agree with the list of its names, where that has them.
    fn agrees(&self, profile: &Profile) -> Result<(), KinError> {
        let functions = profile.sites.values().flatten();
        let functions = functions
            .filter(|site| site.kind != SiteKind::Inlined)
            .map(|site| (&site.function, site.entry));
        let globals = profile.globals.values().map(|global| (&global.name, global.addr));
        let places: Vec<(&String, LinkAddr)> = functions.chain(globals).collect();
        let symbols = self.program.symbols(places.iter().map(|(name, _)| name.as_str()))?;
        for (name, addr) in places {
            let known = symbols.get(name);
            if !known.is_empty() && known.iter().all(|symbol| symbol.addr != addr) {
                return Err(self.unconfirmed(name, Unconfirmed::Symbols));
            }
            let listed = self.list.map_or(&[][..], |list| list.get(name));
            if !listed.is_empty() && !listed.contains(&addr) {
                return Err(self.unconfirmed(name, Unconfirmed::SymbolList));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use test_servers::{Release, skipped};

    use crate::elf::Program;
    use crate::kin::{Fingerprint, carry_over};
    use crate::profile::Profile;
    use crate::role::{Role, SiteRole};
    use crate::symbol_list::SymbolList;

    /// Nothing is lost with a function that has other code and is not exported, where the list has it.
    #[test]
    fn the_list_gives_an_optional_site_its_place() {
        const TEST: &str = "the_list_gives_an_optional_site_its_place";
        let release = Release::MariadbSecurity;
        let found = release.installed().and_then(|of| Ok((of.program, release.symbol_list()?)));
        let (program, list) = match found {
            Ok(found) => found,
            Err(error) => return skipped(TEST, format!("{error:#}")),
        };
        let text = include_bytes!("../../profiles/mariadb-10.11.18-bookworm-amd64.json");
        let code = include_bytes!("../../profiles/mariadb-10.11.18-bookworm-amd64.kin");
        let profile = Profile::from_json(text).unwrap();
        let mut known = Fingerprint::from_bytes("known", code).unwrap();
        let role = SiteRole::TrxCommit;
        let site = &profile.sites[&role][0];
        for function in known.functions.iter_mut().filter(|of| of.holds(site.entry.0)) {
            assert_eq!(function.source, None, "its code is not among what must be the same");
            (function.hash, function.unlined) = (1, 2);
        }
        let program = Program::open(&program).unwrap();
        let (without, _) = carry_over("known", &profile, &known, &program, None).unwrap();
        assert!(!without.sites.contains_key(&role));
        assert!(without.missing.iter().any(|missing| missing.role == Role::Site(role)));
        let list = File::open(list).unwrap();
        let list = SymbolList::read(list, &program, &[&site.function]).unwrap();
        let (with, _) = carry_over("known", &profile, &known, &program, Some(&list)).unwrap();
        assert_eq!([with.sites[&role][0].entry], list.get(&site.function));
        assert_eq!(with.sites[&role][0].args, site.args);
        assert!(with.missing.is_empty(), "{:?}", with.missing);
    }
}
