//! ext4 disks made from folders, without a mount.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use test_servers::command;

/// What a disk is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// The guest only reads it: no journal.
    ReadOnly,
    /// The guest writes it.
    ReadWrite,
}

/// Writes all of `folder` to a raw disk at `file`, with `room` bytes to spare. Blocks of zeros stay holes.
///
/// # Errors
/// `mke2fs` is missing or fails.
pub fn make(folder: &Path, file: &Path, room: u64, used: Use) -> Result<()> {
    let text =
        command::output(Command::new("du").args(["--summarize", "--block-size=1M"]).arg(folder))?;
    let mib: u64 = text.split_whitespace().next().unwrap_or_default().parse()?;
    // ext4's own tables take about two in a hundred.
    let bytes = ((mib + mib / 16 + 16) << 20) + room;
    File::create(file)?.set_len(bytes)?;
    let features = match used {
        Use::ReadOnly => "^has_journal",
        Use::ReadWrite => "has_journal",
    };
    command::output(
        Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-O", features, "-m", "0"])
            // Nothing is left to be written in the background of a guest that is measured.
            .args(["-E", "lazy_itable_init=0,lazy_journal_init=0", "-d"])
            .arg(folder)
            .arg(file),
    )
    .map(drop)
}
