//! The library that QEMU loads: built, tested and checked apart from the workspace, since it has no
//! standard library and links only where no path panics.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use test_servers::command;

use crate::workspace;

/// Variable of the environment that names a library that is built already; tests find it there.
pub(crate) const VARIABLE: &str = "POOLFERRY_QEMU_LIBRARY";

const FILE: &str = "libpoolferry_qemu.so";

/// Builds the library, if anything of it changed, and gives its path.
pub(crate) fn build() -> Result<PathBuf> {
    if let Some(given) = env::var_os(VARIABLE) {
        println!("taking the library for QEMU from `{}` ({VARIABLE})", given.display());
        return Ok(given.into());
    }
    command::run(cargo().args(["build", "--release", "--quiet"])).context(
        "failed to build the library for QEMU; an undefined `poolferry_qemu_could_panic` means that \
         a path of it panics",
    )?;
    let built = target().join("release").join(FILE);
    let library = target().join(FILE);
    let bytes = fs::read(&built).with_context(|| format!("no library at `{}`", built.display()))?;
    if fs::read(&library).ok().as_ref() != Some(&bytes) {
        // Under another name first: to write into a file that a QEMU has mapped would crash it.
        let fresh = library.with_extension("so.new");
        fs::write(&fresh, bytes)?;
        fs::rename(&fresh, &library)?;
    }
    Ok(library)
}

/// Checks its format.
pub(crate) fn format() -> Result<()> {
    command::run(cargo().args(["fmt", "--check"]))
}

/// Checks its lints, with and without the standard library.
pub(crate) fn lints() -> Result<()> {
    for what in ["--lib", "--tests"] {
        command::run(cargo().args(["clippy", "--quiet", what, "--", "-D", "warnings"]))?;
    }
    Ok(())
}

fn target() -> PathBuf {
    workspace::root().join("target/shim")
}

/// The cargo that builds and tests it.
pub(crate) fn cargo() -> Command {
    let mut cargo = workspace::cargo();
    cargo.current_dir(workspace::root().join("qemu-glue/shim"));
    cargo.env("CARGO_TARGET_DIR", target());
    cargo
}
