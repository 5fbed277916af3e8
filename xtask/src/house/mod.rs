//! Rules that no other tool checks, one small file each. A rule sees one file at a time, and says where it is
//! broken; `type_names` sees whole programs.

mod commands;
mod foreign;
mod length;
mod links;
mod named_code;
mod named_tests;
mod opens;
mod options;
mod paths;
mod safety;
mod source;
pub(crate) mod type_names;
mod words;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use test_servers::command;

use self::source::{Finding, Source};
use crate::workspace;

/// One rule: what it is called, and what it finds in a file.
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    find: fn(&Source<'_>) -> Vec<Finding>,
}

/// All rules.
pub(crate) const RULES: &[Rule] = &[
    Rule { name: "no file is too long", find: length::find },
    Rule { name: "unsafe blocks of the eBPF programs say why", find: safety::find },
    Rule { name: "foreign text passes its door", find: foreign::find },
    Rule { name: "no path of one machine only", find: paths::find },
    Rule { name: "the commands that the documentation names exist", find: commands::find },
    Rule { name: "options that the documentation names exist", find: options::find },
    Rule { name: "foreign files are opened through one door", find: opens::find },
    Rule { name: "links in the documentation lead to files", find: links::find },
    Rule { name: "tests that the documentation names exist", find: named_tests::find },
    Rule { name: "files and modules that ARCHITECTURE.md names exist", find: named_code::find },
    Rule { name: "one term for one thing", find: words::find },
];

/// Applies `rule` to all files that git knows or would add.
pub(crate) fn apply(rule: &Rule, commands: &clap::Command) -> Result<()> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let list = command::output(git.current_dir(workspace::root()))?;
    let mut found = String::new();
    for name in list.split_terminator('\0') {
        // What is no text, or was just removed, is nothing to read.
        let Ok(text) = fs::read_to_string(workspace::root().join(name)) else { continue };
        let source = Source { path: Path::new(name), text: &text, commands };
        for finding in (rule.find)(&source) {
            found.push_str(&format!("\n  {name}:{}: {}", finding.line, finding.message));
        }
    }
    if found.is_empty() { Ok(()) } else { bail!("{found}") }
}

#[cfg(test)]
fn find_in(rule: fn(&Source<'_>) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
    let commands = clap::Command::new("xtask").subcommand(clap::Command::new("test"));
    let source = Source { path: Path::new(path), text, commands: &commands };
    rule(&source).into_iter().map(|finding| finding.line).collect()
}
