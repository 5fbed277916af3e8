//! What is known of each server, as data: `servers/*.toml`.
//!
//! A definition gives the server's own names for the roles that the agent uses, for one range of
//! versions. No code branches on a version: a new version is a new file, or a wider range.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::elf::{ElfError, Program};
use crate::error::Error;
use crate::profile::{Op, PageState, ServerId};
use crate::version::{Family, Stated, Version, VersionText, stated};

/// The embedded definitions, in the order of trying.
const FILES: [(&str, &str); 2] = [
    ("mysql-5.6", include_str!("../servers/mysql-5.6.toml")),
    ("mysql-9", include_str!("../servers/mysql-9.toml")),
];

/// Names of one range of versions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Name of the definition: that of its file.
    #[serde(skip)]
    pub name: String,
    /// Whose servers it is for. A fork that keeps the names has a definition of its own, or none.
    pub family: Family,
    /// First version it is for.
    pub from: Version,
    /// First version it is no longer for.
    pub until: Version,
    /// Symbols that every such server has: what tells it from other programs.
    pub exports: Vec<String>,
    /// File names of the sources whose units hold the names.
    pub sources: Vec<String>,
    /// Roles that the agent can do without.
    #[serde(default)]
    pub optional: BTreeSet<String>,
    /// Role to type.
    pub sizes: BTreeMap<String, String>,
    /// Role to `type.member.member`.
    pub fields: BTreeMap<String, String>,
    /// Role to variable.
    pub globals: BTreeMap<String, String>,
    /// Enumerators to record beside those of states and rules.
    #[serde(default)]
    pub enums: Vec<String>,
    /// Enumerators that debug information may leave out, with their values by the sources.
    #[serde(default)]
    pub constants: BTreeMap<String, i64>,
    /// Role to function.
    pub sites: BTreeMap<String, SiteNames>,
    /// Enumerator of the descriptor's state to what it means.
    pub states: BTreeMap<String, PageState>,
    /// The clean rule, in the order of asking.
    pub rules: Vec<RuleNames>,
}

/// A function to probe.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteNames {
    /// Its linkage name.
    pub function: String,
    /// Positions of the wanted parameters, from 0; `this` counts.
    pub args: Vec<usize>,
}

/// A condition of the clean rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleNames {
    /// Role of the field.
    pub field: String,
    /// Comparison.
    pub op: Op,
    /// What with.
    pub value: Operand,
    /// Bits of the field that count; all when absent.
    pub mask: Option<u64>,
    /// The reason when it fails.
    pub reason: String,
}

/// Right-hand side of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Operand {
    /// A number.
    Number(i64),
    /// An enumerator.
    Enumerator(String),
}

impl Definition {
    /// All definitions.
    ///
    /// # Errors
    /// An embedded file is malformed: a fault of this crate, which its tests would find.
    pub fn all() -> Result<Vec<Self>, Error> {
        FILES.iter().map(|(name, text)| Self::parse(name, text)).collect()
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

    /// Every enumerator that it names.
    pub fn enumerators(&self) -> impl Iterator<Item = &str> {
        let of_rules = self.rules.iter().filter_map(|rule| match &rule.value {
            Operand::Enumerator(name) => Some(name),
            Operand::Number(_) => None,
        });
        let recorded = self.enums.iter().chain(self.constants.keys());
        recorded.chain(self.states.keys()).chain(of_rules).map(String::as_str)
    }

    /// Whether the agent needs the role.
    #[must_use]
    pub fn is_required(&self, role: &str) -> bool {
        !self.optional.contains(role)
    }

    fn version<'t>(&self, stated: &'t Stated) -> Option<&'t VersionText> {
        let of_range = |text: &&VersionText| (self.from..self.until).contains(&text.version);
        // The server's own version is the highest of its series: older ones stand in messages.
        stated.versions.iter().rev().find(of_range).filter(|_| self.family == stated.family)
    }
}

/// Recognises a program: the first definition of its family whose symbols it has and whose range holds a version
/// that it states.
///
/// # Errors
/// The file cannot be read; it is no database server; or none of a known version.
pub fn recognise(program: &Program) -> Result<(Definition, ServerId), Error> {
    let definitions = Definition::all()?;
    let names = definitions.iter().flat_map(|d| d.exports.iter().map(String::as_str));
    let symbols = program.symbols(names)?;
    let has_all = |d: &Definition| d.exports.iter().all(|name| !symbols.get(name).is_empty());
    let candidates: Vec<Definition> = definitions.into_iter().filter(has_all).collect();
    if candidates.is_empty() && !has_command_loop(program)? {
        return Err(Error::NotAServer { path: program.path().to_owned() });
    }
    let stated = stated(program)?;
    for definition in candidates {
        if let Some(found) = definition.version(&stated) {
            let server = ServerId {
                family: definition.family.name().to_owned(),
                version: found.text.clone(),
                definition: definition.name.clone(),
            };
            return Ok((definition, server));
        }
    }
    Err(unknown_version(program, stated))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_is_well_formed() {
        for definition in Definition::all().unwrap() {
            let name = &definition.name;
            assert!(definition.from < definition.until, "{name}");
            assert!(!definition.exports.is_empty() && !definition.sources.is_empty(), "{name}");
            let known: BTreeSet<&String> = [
                definition.sizes.keys().collect::<Vec<_>>(),
                definition.fields.keys().collect(),
                definition.globals.keys().collect(),
                definition.sites.keys().collect(),
            ]
            .concat()
            .into_iter()
            .collect();
            for role in &definition.optional {
                assert!(known.contains(role), "{name}: optional `{role}` is no role");
            }
            for rule in &definition.rules {
                assert!(definition.fields.contains_key(&rule.field), "{name}: {}", rule.field);
            }
            for path in definition.fields.values() {
                assert!(path.contains('.'), "{name}: {path}");
            }
        }
    }

    #[test]
    fn a_fork_is_not_taken_for_the_original() {
        let definition = Definition::all().unwrap().remove(0);
        let stated = |family, texts: &[&str]| {
            let text = |text: &&str| VersionText {
                version: text.split('-').next().unwrap().parse().unwrap(),
                text: (*text).to_owned(),
            };
            let stated = Stated { family, versions: texts.iter().map(text).collect() };
            definition.version(&stated).map(|version| version.text.clone())
        };
        // MariaDB 10.0 and 10.1 state the version of their InnoDB too.
        assert_eq!(stated(Family::Mariadb, &["5.6.49", "10.1.48-MariaDB"]), None);
        assert_eq!(stated(Family::Percona, &["5.6.24-72.2"]), None);
        let mysql = stated(Family::Mysql, &["5.6.3", "5.6.49", "5.7.6"]);
        assert_eq!(mysql.as_deref(), Some("5.6.49"));
    }
}
