//! The test programs of the workspace, as cargo has built them, and which of them may run beside another.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::workspace;

/// Programs that share the machine with no other: they measure, or look for whatever server runs here.
const ALONE: [&str; 3] = ["observe", "servers", "timeline"];
/// Waits most of the time, for links that are slow and guests that boot.
const LONGEST: &str = "migrate";
/// Of those beside it the last one, as it wants no server to run but its own: the longest may make its data with one at first.
const LAST: &str = "agent";

/// Modules of the longest that have VMs of their own: they run beside the rest of it.
pub(super) const APART: [&str; 2] = ["again::", "paper::"];

/// When a program may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    /// From the start, with the others beside it.
    Longest,
    /// Beside the longest, one after the other.
    Beside,
    /// At the end of those.
    Last,
    /// When no other runs.
    Alone,
}

impl Turn {
    fn of(name: &str) -> Self {
        match name {
            LONGEST => Self::Longest,
            LAST => Self::Last,
            _ if ALONE.contains(&name) => Self::Alone,
            _ => Self::Beside,
        }
    }
}

/// A program with tests.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// `PACKAGE: TARGET`
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// The folder of its package, where it is started.
    pub(super) folder: PathBuf,
    pub(super) turn: Turn,
}

impl Program {
    /// The command that runs it, as cargo would.
    pub(super) fn command(&self) -> Command {
        let mut command = if rustix::process::geteuid().is_root() {
            Command::new(&self.path)
        } else {
            let mut sudo = Command::new("sudo");
            sudo.arg("--preserve-env").arg(&self.path);
            sudo
        };
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        command
    }
}

/// Builds all test programs, and the programs that they start; names the former.
pub(super) fn build() -> Result<Vec<Program>> {
    let mut cargo = workspace::cargo();
    // In one go: by itself, a build of the programs has other features of some crates, so that all that use them are built twice.
    cargo.args(["build", "--workspace", "--bins", "--examples", "--tests"]);
    cargo.arg("--message-format=json-render-diagnostics");
    let built = cargo.stderr(Stdio::inherit()).output().context("failed to start cargo")?;
    ensure!(built.status.success(), "the tests do not build (see above)");
    let messages = String::from_utf8_lossy(&built.stdout);
    let programs: Vec<_> = messages.lines().filter_map(program).collect();
    ensure!(!programs.is_empty(), "cargo has built no tests");
    Ok(programs)
}

/// One of cargo's messages, where it is about a test program.
fn program(message: &str) -> Option<Program> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let path = PathBuf::from(message["executable"].as_str()?);
    let target = message["target"]["name"].as_str()?;
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
    let package = folder.strip_prefix(workspace::root()).unwrap_or(folder);
    // A library and a program of the same name have tests of their own.
    let is_test = message["target"]["kind"][0] == "test";
    let turn = if is_test { Turn::of(target) } else { Turn::Beside };
    let name = format!("{}: {target}", package.display());
    Some(Program { name, path, folder: folder.to_owned(), turn })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_messages_name_the_test_programs() {
        let message = |kind: &str, name: &str, test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"{}/tests/Cargo.toml",
                "target":{{"kind":["{kind}"],"name":"{name}"}},"profile":{{"test":{test}}},"executable":{executable}}}"#,
                workspace::root().display()
            )
        };
        let found = |kind, name| program(&message(kind, name, true, "\"/x/observe-1\"")).unwrap();
        let observe = found("test", "observe");
        assert_eq!(observe.name, "tests: observe");
        assert_eq!(observe.folder, workspace::root().join("tests"));
        assert_eq!((observe.path, observe.turn), ("/x/observe-1".into(), Turn::Alone));
        assert_eq!(found("test", "migrate").turn, Turn::Longest);
        assert_eq!(found("test", "source").turn, Turn::Beside);
        assert_eq!(found("lib", "observe").turn, Turn::Beside);
        assert_eq!(program(&message("bin", "poolferry", false, "\"/x/poolferry\"")), None);
        assert_eq!(program(&message("lib", "symbols", true, "null")), None);
        assert_eq!(program(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(program("no message"), None);
    }

    /// A module that is not there would leave its tests where they take longest.
    #[test]
    fn what_runs_apart_are_modules_of_the_longest() {
        for module in APART {
            let file = format!("tests/tests/{LONGEST}/{}.rs", module.trim_end_matches(':'));
            assert!(workspace::root().join(&file).is_file(), "no `{file}`");
        }
    }

    /// A name that no program has would let it run beside others.
    #[test]
    fn programs_with_a_turn_of_their_own_are_there() {
        for name in ALONE.iter().chain([&LONGEST, &LAST]) {
            let there = ["tests", "tests/servers"].iter().any(|package| {
                let tests = workspace::root().join(package).join("tests");
                tests.join(name).join("main.rs").is_file()
                    || tests.join(format!("{name}.rs")).is_file()
            });
            assert!(there, "no test program `{name}`");
        }
    }
}
