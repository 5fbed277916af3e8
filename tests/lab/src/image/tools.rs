//! The tools disk: what changes from build to build.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::disk;

/// Programs that go into the guest.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The guest's part of the laboratory.
    pub lab_guest: PathBuf,
    /// The agent; without it only stock migrations can be had.
    pub poolferry: Option<PathBuf>,
}

/// Writes the disk to `file`, with the server's options.
///
/// # Errors
/// A program is not there, or `mke2fs` fails.
pub fn make(tools: &Tools, my_cnf: &str, file: &Path) -> Result<()> {
    let staging = tempfile::tempdir()?;
    let copy = |from: &Path, name: &str| {
        fs::copy(from, staging.path().join(name))
            .with_context(|| format!("failed to take `{}` into the guest", from.display()))
    };
    copy(&tools.lab_guest, "lab-guest")?;
    if let Some(poolferry) = &tools.poolferry {
        copy(poolferry, "poolferry")?;
    }
    fs::write(staging.path().join("my.cnf"), my_cnf)?;
    disk::make(staging.path(), file, 0, disk::Use::ReadOnly)
}
