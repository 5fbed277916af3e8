//! What is known of each server, as data: `servers/*.toml`.
//!
//! A definition gives the server's own names for the roles that the agent uses, for one range of
//! versions. No code branches on a version: a new version is a new file, or a wider range.

mod meaning;
mod names;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::OnceLock;

use serde::Deserialize;

use crate::elf::{ElfError, Program};
use crate::error::Error;
use crate::profile::{ServerId, Topology};
use crate::role::{FieldRole, GlobalRole, Role, SiteRole, SizeRole};
use crate::version::{Family, ServerVersion, Stated, VersionText, stated};

pub use names::{ConditionNames, IoNames, Operand, RuleNames, StateNames};

/// The embedded definitions.
const FILES: [(&str, &str); 7] = [
    ("mariadb-10.11", include_str!("../servers/mariadb-10.11.toml")),
    ("mariadb-11.8", include_str!("../servers/mariadb-11.8.toml")),
    ("mysql-5.6", include_str!("../servers/mysql-5.6.toml")),
    ("mysql-5.7", include_str!("../servers/mysql-5.7.toml")),
    ("mysql-8.0.11", include_str!("../servers/mysql-8.0.11.toml")),
    ("mysql-8.0.23", include_str!("../servers/mysql-8.0.23.toml")),
    ("mysql-9", include_str!("../servers/mysql-9.toml")),
];

/// Names of one range of versions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Name of the definition: that of its file.
    #[serde(skip)]
    pub name: String,
    /// Whose servers it is for: a fork in whose sources every name was read too. Any other has a definition of its own, or none.
    #[serde(rename = "family", deserialize_with = "names::one_or_more")]
    pub families: Vec<Family>,
    /// First version it is for.
    pub from: ServerVersion,
    /// First version it is no longer for.
    pub until: ServerVersion,
    /// Symbols that every such server has: what distinguishes it from other programs.
    pub exports: Vec<String>,
    /// File names of the sources whose units hold the names.
    pub sources: Vec<String>,
    /// File names of the sources whose whole code another build must have to take over a profile; none where that is not
    /// known of these servers.
    #[serde(default)]
    pub compared: Vec<String>,
    /// Where the server's package has the list of its program's names, compressed; none where it has no such list.
    pub symbol_list: Option<PathBuf>,
    /// Roles that the agent can do without.
    #[serde(default)]
    pub optional: Optional,
    /// Role to type.
    pub sizes: BTreeMap<SizeRole, String>,
    /// Role to `type.member.member`.
    pub fields: BTreeMap<FieldRole, String>,
    /// Role to variable.
    pub globals: BTreeMap<GlobalRole, String>,
    /// Enumerators to record beside those of states and rules.
    #[serde(default)]
    pub enums: Vec<String>,
    /// Enumerators that debug information may leave out, with their values by the sources.
    #[serde(default)]
    pub constants: BTreeMap<String, i64>,
    /// Role to functions: an event may have several doors.
    pub sites: BTreeMap<SiteRole, Vec<SiteNames>>,
    /// Where pools and their blocks lie.
    pub topology: Topology,
    /// The meaning of the descriptor's state word.
    pub states: Vec<StateNames>,
    /// The clean rule, in the order of evaluation.
    pub rules: Vec<RuleNames>,
    /// How the descriptor distinguishes reads from writes.
    pub io: IoNames,
    /// Values of `block.oldest_lsn` of pages that are not on the flush list; none where the length of that list is not to be compared.
    #[serde(default)]
    pub off_flush_list: Vec<u64>,
}

/// Roles that the agent can do without.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optional {
    /// Places for probes.
    pub sites: BTreeSet<SiteRole>,
    /// Fields.
    pub fields: BTreeSet<FieldRole>,
    /// Global variables.
    pub globals: BTreeSet<GlobalRole>,
    /// Recorded enumerators.
    pub enums: BTreeSet<String>,
}

/// A function to probe.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteNames {
    /// Its linkage name.
    pub function: String,
    /// Positions of the wanted parameters, from 0; `this` counts.
    pub args: Vec<usize>,
    /// The field that the function does no more than store to. By then debug information often no longer has the place of the
    /// object; the instruction has.
    pub stores: Option<FieldRole>,
}

impl Definition {
    /// All definitions; their text is parsed once.
    ///
    /// # Errors
    /// An embedded file is malformed: a fault of this crate, which its tests would find.
    pub fn all() -> Result<&'static [Self], Error> {
        static ALL: OnceLock<Vec<Definition>> = OnceLock::new();
        if let Some(all) = ALL.get() {
            return Ok(all);
        }
        let parsed: Result<_, Error> =
            FILES.iter().map(|(name, text)| Self::parse(name, text)).collect();
        let parsed = parsed?;
        Ok(ALL.get_or_init(|| parsed))
    }

    fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let definition = toml::from_str(text)
            .map_err(|e| Error::Definition { name: name.to_owned(), source: e.into() })?;
        Ok(Self { name: name.to_owned(), ..definition })
    }

    /// Identity of the definitions' text; a cached profile of others is stale.
    #[must_use]
    pub fn fingerprint() -> String {
        let mut hasher = blake3::Hasher::new();
        for (name, text) in FILES {
            hasher.update(name.as_bytes()).update(text.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The definition of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let (name, text) = FILES.iter().find(|(known, _)| *known == name)?;
        Self::parse(name, text).ok()
    }

    /// Every enumerator that it names.
    pub fn enumerators(&self) -> impl Iterator<Item = &str> {
        let of_conditions = self.operands().filter_map(|operand| match operand {
            Operand::Enumerator(name) => Some(name),
            Operand::Number(_) => None,
        });
        let recorded = self.enums.iter().chain(self.constants.keys());
        recorded.chain(of_conditions).map(String::as_str)
    }

    /// Every function that it names.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        self.sites.values().flatten().map(|site| site.function.as_str())
    }

    /// Whether the agent needs it.
    #[must_use]
    pub fn is_required(&self, role: &Role) -> bool {
        let Optional { sites, fields, globals, enums } = &self.optional;
        match role {
            Role::Site(role) => !sites.contains(role),
            Role::Field(role) => !fields.contains(role),
            Role::Global(role) => !globals.contains(role),
            Role::Enum(name) => !enums.contains(name),
            Role::Size(_) | Role::Condition(_) => true,
        }
    }

    fn version<'t>(&self, stated: &'t Stated) -> Option<&'t VersionText> {
        let of_range = |text: &&VersionText| (self.from..self.until).contains(&text.version);
        // The server's own version is the highest of its series: older ones stand in messages.
        let version = stated.versions.iter().rev().find(of_range);
        version.filter(|_| self.families.contains(&stated.family))
    }
}

/// Recognises a program: of the definitions of its family whose symbols it has, that whose range holds the highest version
/// that it states.
///
/// # Errors
/// The file cannot be read; it is no database server; or none of a known version.
pub fn recognise(program: &Program) -> Result<(Definition, ServerId), Error> {
    let definitions = Definition::all()?;
    let names = definitions.iter().flat_map(|d| d.exports.iter().map(String::as_str));
    let symbols = program.symbols(names)?;
    let has_all = |d: &Definition| d.exports.iter().all(|name| !symbols.get(name).is_empty());
    let candidates: Vec<&Definition> = definitions.iter().filter(|d| has_all(d)).collect();
    if candidates.is_empty() && !has_command_loop(program)? {
        return Err(Error::NotAServer { path: program.path().to_owned() });
    }
    let stated = stated(program)?;
    if let Some((definition, found)) = newest(&candidates, &stated) {
        let server = ServerId {
            family: stated.family.name().to_owned(),
            version: found.text.clone(),
            definition: definition.name.clone(),
        };
        return Ok((definition.clone(), server));
    }
    Err(unknown_version(program, stated))
}

/// The definition for the highest version, and that version: 8.0.27 states 8.0.19 too, in a message.
fn newest<'d, 't>(
    candidates: &[&'d Definition],
    stated: &'t Stated,
) -> Option<(&'d Definition, &'t VersionText)> {
    let known = candidates.iter().filter_map(|one| Some((*one, one.version(stated)?)));
    known.max_by_key(|(_, found)| found.version)
}

/// Whether the program exports `do_command(THD*)`, the loop that serves a client in every relative of
/// MySQL (sql_parse.cc; MariaDB 10.6 added a parameter).
fn has_command_loop(program: &Program) -> Result<bool, Error> {
    let names = ["_Z10do_commandP3THD", "_Z10do_commandP3THDb"];
    let symbols = program.symbols(names)?;
    Ok(names.iter().any(|name| !symbols.get(name).is_empty()))
}

fn unknown_version(program: &Program, stated: Stated) -> Error {
    // Enough to recognise the server by; `.rodata` may hold hundreds.
    let versions = stated.versions.into_iter().rev().take(5).map(|text| text.text).collect();
    let path = program.path().to_owned();
    match stated.family {
        Family::Mysql => Error::UnknownVersion { path, versions },
        fork => Error::UnknownFork { path, fork: fork.to_string(), versions },
    }
}

impl From<ElfError> for Error {
    fn from(source: ElfError) -> Self {
        Self::Elf(source)
    }
}
