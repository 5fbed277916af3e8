//! The disk with the server's files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use test_servers::cache::Cache;
use test_servers::{Installed, command};

use super::disk;
use super::root::LEFT_OUT;

/// What of MySQL 5.6's own folder is used: not the data directory that it ships.
const FILES: [&str; 3] = ["mysqld", "libaio.so.1", "share"];
/// What a server in a root folder of its own sees of the guest: `init.sh` mounts them there.
pub(super) const SHARED: [&str; 8] = ["dev", "proc", "sys", "data", "lab", "run", "tmp", "var/tmp"];
const DISK: &str = "server.raw";

/// The disk, out of the cache.
pub(super) fn ready(cache: &Cache, installed: &Installed) -> Result<PathBuf> {
    let program = fs::metadata(&installed.program)?;
    let inputs = format!(
        "{} {} {:?} {SHARED:?} 1",
        installed.program.display(),
        program.len(),
        program.modified()?
    );
    let name = format!("lab-servers/{}", installed.release.name());
    Ok(cache.prepare(&name, &inputs, |folder| make(folder, installed))?.join(DISK))
}

fn make(folder: &Path, installed: &Installed) -> Result<()> {
    let tree = folder.join("tree");
    let copy = |from: &Path| {
        let mut copy = Command::new("cp");
        command::output(copy.args(["--archive", "--reflink=auto"]).arg(from).arg(&tree))
    };
    match &installed.root {
        Some(root) => {
            copy(root)?;
            for name in SHARED {
                fs::create_dir_all(tree.join(name))?;
            }
            for name in LEFT_OUT {
                let _ = fs::remove_dir_all(tree.join(name));
            }
        }
        None => {
            let home = installed.program.parent().context("the server lies in no folder")?;
            fs::create_dir(&tree)?;
            for name in FILES {
                copy(&home.join(name))?;
            }
        }
    }
    disk::make(&tree, &folder.join(DISK), 16 << 20, disk::Use::ReadOnly)?;
    Ok(fs::remove_dir_all(tree)?)
}
