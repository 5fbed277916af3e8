//! The tools disk: what changes from build to build.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::disk;
use crate::size::Size;

/// Programs that go into the guest.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The guest's part of the laboratory.
    pub lab_guest: PathBuf,
    /// The agent; without it only stock migrations can be had.
    pub poolferry: Option<PathBuf>,
}

/// Writes the disk to `file`. `pool` is the server's buffer pool.
///
/// # Errors
/// A program is not there, or `mke2fs` fails.
pub fn make(tools: &Tools, pool: Size, file: &Path) -> Result<()> {
    let staging = tempfile::tempdir()?;
    let copy = |from: &Path, name: &str| {
        fs::copy(from, staging.path().join(name))
            .with_context(|| format!("failed to take `{}` into the guest", from.display()))
    };
    copy(&tools.lab_guest, "lab-guest")?;
    if let Some(poolferry) = &tools.poolferry {
        copy(poolferry, "poolferry")?;
    }
    fs::write(staging.path().join("my.cnf"), my_cnf(pool))?;
    disk::make(staging.path(), file, 0, disk::Use::ReadOnly)
}

/// The server's options.
fn my_cnf(pool: Size) -> String {
    let home = format!("/{}", super::root::MYSQL);
    let options = [
        "[mysqld]".to_owned(),
        "user=root".to_owned(),
        format!("basedir={home}"),
        format!("lc_messages_dir={home}/share"),
        format!("character_sets_dir={home}/share/charsets"),
        "datadir=/data/mysql".to_owned(),
        "tmpdir=/tmp".to_owned(),
        "socket=/run/mysqld.sock".to_owned(),
        "pid_file=/run/mysqld.pid".to_owned(),
        "innodb_flush_method=O_DIRECT".to_owned(),
        format!("innodb_buffer_pool_size={}M", pool.in_mib()),
        // A warm-up from a dumped list would differ from one start to the next.
        "innodb_buffer_pool_load_at_startup=0".to_owned(),
        "innodb_buffer_pool_dump_at_shutdown=0".to_owned(),
        "explicit_defaults_for_timestamp=1".to_owned(),
        "performance_schema=0".to_owned(),
        "skip_networking".to_owned(),
        "skip_log_bin".to_owned(),
    ];
    options.join("\n") + "\n"
}
