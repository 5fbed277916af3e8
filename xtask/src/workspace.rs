//! Where things lie in this repository, and cargo inside it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use test_servers::command;

/// The top of the repository.
pub(crate) fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Where cargo puts what it builds of the workspace.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The cargo that runs this program, at the top of the repository.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Builds all release binaries, and gives their folder.
pub(crate) fn build_release() -> Result<PathBuf> {
    // This program is not for users, and has no second use optimised.
    build_release_of(&["--workspace", "--exclude", "xtask", "--bins"])
}

/// Builds the release binaries of `selection` (arguments of cargo), and gives their folder.
pub(crate) fn build_release_of(selection: &[&str]) -> Result<PathBuf> {
    command::run(cargo().args(["build", "--release"]).args(selection))?;
    Ok(target().join("release"))
}
