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

/// Builds the release binaries of the workspace, or those of `selection` (arguments of cargo), and gives their folder.
pub(crate) fn build_release(selection: &[&str]) -> Result<PathBuf> {
    let selection = if selection.is_empty() { &["--workspace", "--bins"][..] } else { selection };
    command::run(cargo().args(["build", "--release"]).args(selection))?;
    Ok(target().join("release"))
}
