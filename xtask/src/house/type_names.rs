//! One name for one type in a program: whoever reads a name does not have to ask which of two it is.
//!
//! Only names that are visible beyond their own module count: a private name has one meaning where it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::imports;
use crate::workspace;

/// A program, and the folders of the crates that are compiled into it.
struct Program {
    name: &'static str,
    crates: &'static [&'static str],
    /// Names that stand for two types on purpose, and why.
    pairs: &'static [(&'static str, &'static str)],
    /// Names that are still defined twice, a line each: a name leaves when one of the types has another.
    still_twice: &'static str,
}

const PROGRAMS: &[Program] = &[
    Program {
        name: "agent",
        crates: &[
            "ebpf-probes",
            "ebpf-probes/abi",
            "ebpf-probes/loader",
            "qemu-glue/page-number",
            "symbols",
            "userspace",
            "userspace/foreign",
            "userspace/foreign-file",
            "userspace/kernel-text",
            "userspace/outlet",
            "userspace/safe-file",
            "userspace/wire",
        ],
        pairs: &[("Args", "the arguments of a subcommand, in its module")],
        still_twice: "",
    },
    Program {
        name: "host",
        crates: &[
            "ebpf-probes/abi",
            "ebpf-probes/loader",
            "qemu-glue",
            "qemu-glue/page-number",
            "qemu-glue/record",
            "qemu-glue/report",
            "qemu-glue/shim-abi",
            "symbols",
            "userspace/foreign",
            "userspace/foreign-file",
            "userspace/kernel-text",
            "userspace/outlet",
            "userspace/safe-file",
            "userspace/wire",
        ],
        pairs: &[
            ("Command", "what each side's controller asks its driver for, and the subcommands"),
            ("Controller", "the decisions of each side"),
            ("Input", "what each side's controller receives"),
            ("Options", "what each side is asked to do, and the search for symbols"),
        ],
        still_twice: HOST_STILL_TWICE,
    },
    Program {
        name: "library in QEMU",
        crates: &["qemu-glue/page-number", "qemu-glue/shim", "qemu-glue/shim-abi"],
        pairs: &[],
        still_twice: "",
    },
    Program {
        name: "xtask",
        crates: &["tests/qemus", "tests/servers", "xtask"],
        pairs: &[("Arguments", "the arguments of a subcommand, in its module")],
        still_twice: XTASK_STILL_TWICE,
    },
    Program {
        name: "tests",
        crates: &["tests", "tests/lab", "tests/qemus", "tests/servers"],
        pairs: &[],
        still_twice: TESTS_STILL_TWICE,
    },
];

const HOST_STILL_TWICE: &str = "
";

const XTASK_STILL_TWICE: &str = "
";

const TESTS_STILL_TWICE: &str = "
";

/// Looks at every program.
///
/// # Errors
/// A file that is no Rust; names that stand for two types, with their files; entries of the lists that are not needed.
pub(crate) fn check() -> Result<()> {
    let mut found = String::new();
    let types = imports::visible_types(workspace::root())?;
    for program in PROGRAMS {
        for finding in program.find(&types) {
            found.push_str(&format!("\n  {}: {finding}", program.name));
        }
    }
    if found.is_empty() { Ok(()) } else { bail!("{found}") }
}

impl Program {
    /// What is wrong with the names of its own among these types and the files that define them.
    fn find(&self, types: &[(String, PathBuf)]) -> Vec<String> {
        let mut files = BTreeMap::<&str, BTreeSet<&Path>>::new();
        let is_own = |file: &Path| {
            self.crates.iter().any(|folder| file.starts_with(Path::new(folder).join("src")))
        };
        for (name, file) in types.iter().filter(|(_, file)| is_own(file)) {
            files.entry(name).or_default().insert(file);
        }
        files.retain(|_, files| files.len() > 1);
        let pairs = self.pairs.iter().map(|(name, _)| *name);
        let listed: BTreeSet<&str> = pairs.chain(self.still_twice.split_whitespace()).collect();
        let unused = listed.iter().filter(|name| !files.contains_key(*name));
        let unused = unused.map(|name| {
            format!("`{name}` is defined once: take it off the list in house/type_names.rs")
        });
        let twice = files.iter().filter(|(name, _)| !listed.contains(*name));
        let twice = twice.map(|(name, files)| {
            format!("`{name}` stands for {} types: {}", files.len(), joined(files))
        });
        twice.chain(unused).collect()
    }
}

fn joined(files: &BTreeSet<&Path>) -> String {
    let names: Vec<_> = files.iter().map(|file| file.to_string_lossy()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    const PROGRAM: Program = Program {
        name: "both",
        crates: &["one", "two"],
        pairs: &[("Args", "of a subcommand"), ("Unneeded", "it was two once")],
        still_twice: "Old\nRenamed",
    };

    /// Visible types, as these files define them.
    fn types(files: &[(&str, &str)]) -> Vec<(String, PathBuf)> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let git = Command::new("git").args(["init", "-q"]).current_dir(folder.path()).status();
        assert!(git.unwrap().success());
        imports::visible_types(folder.path()).unwrap()
    }

    #[test]
    fn names_of_two_types_are_found() {
        let found = PROGRAM.find(&types(&[
            (
                "one/src/lib.rs",
                "mod a; pub struct Place; pub(crate) enum Old {} pub struct Args; pub struct Renamed; \
                 struct Private; pub struct OfTests;",
            ),
            ("one/src/a.rs", "pub(super) trait Place {} pub struct Own;"),
            (
                "two/src/main.rs",
                "pub(crate) type Place = u8; pub union Old { a: u8 } pub struct Args; \
                 pub struct Private; #[cfg(test)] mod tests { pub struct OfTests; }",
            ),
            ("other/src/lib.rs", "pub struct Own;"),
            ("one/inside/src/lib.rs", "pub struct Own;"),
        ]));
        assert_eq!(
            found,
            [
                "`Place` stands for 3 types: one/src/a.rs, one/src/lib.rs, two/src/main.rs",
                "`Renamed` is defined once: take it off the list in house/type_names.rs",
                "`Unneeded` is defined once: take it off the list in house/type_names.rs",
            ]
        );
    }

    #[test]
    fn every_crate_of_a_program_is_there() {
        for program in PROGRAMS {
            for folder in program.crates {
                let manifest = workspace::root().join(folder).join("Cargo.toml");
                assert!(manifest.is_file(), "{}: {folder}", program.name);
            }
        }
    }

    #[test]
    fn the_project_has_one_name_for_one_type() {
        check().unwrap();
    }
}
