//! `cargo xtask check`: what must hold of every commit, besides the tests. Everything runs; failures are listed at the end.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use test_servers::command;

use crate::dependencies;
use crate::house;
use crate::imports;
use crate::setup::{self, SetupOptions};
use crate::{ebpf, shim, workspace};

/// Runs all checks; `commands` is the command line of this program, which the documentation has to match.
pub(crate) fn perform(options: SetupOptions, commands: &clap::Command) -> Result<ExitCode> {
    setup::for_build(options.consent())?;
    let mut failures = Vec::new();
    let mut check = |name: &str, result: Result<()>| {
        println!("{} {name}", if result.is_ok() { "ok    " } else { "FAILED" });
        if let Err(error) = result {
            failures.push(format!("{name}: {error:#}"));
        }
    };
    check("format", command::run(workspace::cargo().args(["fmt", "--all", "--check"])));
    check("format of ebpf-probes", ebpf_format());
    check("eBPF programs build", ebpf::build().map(drop));
    check("format of the library for QEMU", shim::format());
    check("library for QEMU builds, and no path of it panics", shim::build().map(drop));
    check("lints of the library for QEMU", shim::lints());
    check("lints", lints());
    check("documentation", documentation());
    check("licences, sources and versions of dependencies", dependencies::check());
    match dependencies::advisories() {
        Some(result) => check("advisories, by cargo-deny", result),
        None => {
            println!("skipped advisories: cargo-deny is not installed (`cargo install cargo-deny`)")
        }
    }
    check("imports between files look down", imports::check());
    check("one name for one type in a program", house::type_names::check());
    for rule in house::RULES {
        check(rule.name, house::apply(rule, commands));
    }
    if failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("\n{} checks failed:", failures.len());
    for failure in failures {
        println!("{failure}");
    }
    Ok(ExitCode::FAILURE)
}

fn ebpf_format() -> Result<()> {
    let folder = workspace::root().join("ebpf-probes");
    command::run(workspace::cargo().args(["fmt", "--check"]).current_dir(folder))
}

fn lints() -> Result<()> {
    command::run(workspace::cargo().args([
        "clippy",
        "--quiet",
        "--keep-going",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

fn documentation() -> Result<()> {
    let mut doc = workspace::cargo();
    doc.args(["doc", "--quiet", "--keep-going", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings");
    command::run(&mut doc).context("see the warnings above")
}
