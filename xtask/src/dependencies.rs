//! What is built must be what `deny.toml` allows: licences, sources, and no crate in two versions without a reason.
//!
//! The same rules are cargo-deny's, which takes minutes to build and is not installed for them. Where it is installed, it runs too, as it
//! alone knows the advisories.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use spdx::{Expression, ParseMode};
use test_servers::command;

use crate::workspace;

const RULES: &str = "deny.toml";
/// Each has a lock file of its own.
const WORKSPACES: [&str; 4] = [".", "ebpf-probes", "qemu-glue/shim", "tests/fuzz"];

/// What is read of `deny.toml`.
#[derive(Debug, Deserialize)]
struct Rules {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
}

#[derive(Debug, Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    skip: Vec<Skip>,
}

/// A version that may stand beside another.
#[derive(Debug, Deserialize)]
struct Skip {
    #[serde(rename = "crate")]
    name: String,
}

/// Checks all workspaces.
pub(crate) fn check() -> Result<()> {
    let path = workspace::root().join(RULES);
    let text = fs::read_to_string(&path).with_context(|| format!("no `{RULES}`"))?;
    let rules: Rules = toml::from_str(&text).with_context(|| format!("`{RULES}` is malformed"))?;
    let mut found = BTreeSet::new();
    let mut skipped = BTreeSet::new();
    for folder in WORKSPACES {
        let list = built(folder, &rules.graph.targets)?;
        let findings = rules.find(&list, &mut skipped);
        found.extend(findings.into_iter().map(|what| format!("\n  {folder}: {what}")));
    }
    let unused = rules.bans.skip.iter().filter(|skip| !skipped.contains(&skip.name));
    found.extend(unused.map(|skip| format!("\n  {RULES}: `{}` is in no two versions", skip.name)));
    if found.is_empty() { Ok(()) } else { bail!("{}", String::from_iter(found)) }
}

/// Runs cargo-deny, where it is installed. `None`: it is not.
pub(crate) fn advisories() -> Option<Result<()>> {
    let mut version = workspace::cargo();
    if !command::succeeds(version.args(["deny", "--version"])) {
        return None;
    }
    Some(command::run(workspace::cargo().args(["deny", "check"])))
}

/// `NAME vVERSION (SOURCE)|LICENCE` of each crate that is built; no source is crates.io.
fn built(folder: &str, targets: &[String]) -> Result<String> {
    let mut cargo: Command = workspace::cargo();
    cargo.current_dir(workspace::root().join(folder));
    cargo.args(["tree", "--workspace", "--locked", "--edges=normal,build,dev", "--prefix=none"]);
    cargo.args(["--format={p}|{l}"]).args(targets.iter().flat_map(|target| ["--target", target]));
    command::output(&mut cargo)
}

impl Rules {
    /// What they forbid in a list of [`built`] crates.
    fn find(&self, list: &str, skipped: &mut BTreeSet<String>) -> Vec<String> {
        let (mut found, mut versions) = (Vec::new(), BTreeMap::<String, BTreeSet<String>>::new());
        for line in list.lines().collect::<BTreeSet<_>>() {
            // What was listed above has a star.
            let Some((package, licence)) = line.trim_end_matches(" (*)").split_once('|') else {
                continue;
            };
            let package = package.replace(" (proc-macro)", "");
            let mut words = package.splitn(3, ' ');
            let (name, version) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let source = words.next().unwrap_or("");
            let is_own = source.starts_with("(/");
            if !(source.is_empty() || is_own) {
                found.push(format!("{name} {version} comes from {source}, not from crates.io"));
            }
            if !is_own && !self.allow(licence) {
                found.push(format!(
                    "{name} {version} has the licence `{licence}`, which {RULES} does not allow"
                ));
            }
            let version = version.trim_start_matches('v').to_owned();
            versions.entry(name.to_owned()).or_default().insert(version);
        }
        for (name, versions) in versions {
            if versions.len() == 1 {
                continue;
            }
            let mut unnamed = 0;
            for version in &versions {
                match self.bans.skip.iter().find(|skip| is_of(&skip.name, &name, version)) {
                    Some(skip) => drop(skipped.insert(skip.name.clone())),
                    None => unnamed += 1,
                }
            }
            if unnamed > 1 {
                let all = versions.into_iter().collect::<Vec<_>>().join(", ");
                found.push(format!("{name} is built in several versions: {all}"));
            }
        }
        found
    }

    fn allow(&self, licence: &str) -> bool {
        let Ok(licence) = Expression::parse_mode(licence, ParseMode::LAX) else { return false };
        licence.evaluate(|term| self.licenses.allow.contains(&term.to_string()))
    }
}

/// Whether `NAME@1` or `NAME@0.9` is of this version.
fn is_of(skip: &str, name: &str, version: &str) -> bool {
    let Some((skipped, start)) = skip.split_once('@') else { return false };
    let rest = version.strip_prefix(start);
    skipped == name && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [graph]
        targets = ["x86_64-unknown-linux-gnu"]
        [licenses]
        allow = ["MIT", "Apache-2.0 WITH LLVM-exception"]
        [bans]
        skip = [{ crate = "two@0.1", reason = "old" }, { crate = "gone@1", reason = "none" }]
    "#;

    #[test]
    fn what_is_not_allowed_is_found() {
        let rules: Rules = toml::from_str(TEXT).unwrap();
        let (list, mut skipped) = (
            "good v1.0.0|MIT OR Apache-2.0\n\
             old v1.0.0|Apache-2.0/MIT (*)\n\
             macros v1.0.0 (proc-macro)|MIT\n\
             llvm v1.0.0|Apache-2.0 WITH LLVM-exception\n\
             own v0.1.0 (/somewhere/own)|\n\
             two v0.1.3|MIT\ntwo v0.2.0|MIT\n\
             copyleft v3.0.0|GPL-3.0-only\n\
             and v1.0.0|MIT AND GPL-2.0-only\n\
             silent v1.0.0|\n\
             git v1.0.0 (https://example.org/git#1)|MIT\n\
             three v0.1.0|MIT\nthree v0.2.0|MIT",
            BTreeSet::new(),
        );
        let found = rules.find(list, &mut skipped);
        let is_found = |what: &str| found.iter().any(|found| found.starts_with(what));
        for what in [
            "copyleft v3.0.0 has",
            "and v1.0.0 has",
            "silent v1.0.0 has",
            "git v1.0.0 comes",
            "three is built",
        ] {
            assert!(is_found(what), "no {what} in {found:#?}");
        }
        assert_eq!(found.len(), 5, "{found:#?}");
        assert_eq!(skipped, BTreeSet::from(["two@0.1".to_owned()]));
    }
}
