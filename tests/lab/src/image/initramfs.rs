//! The initial RAM disk: a shell script and the few modules that lead to the root disk.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use super::server::SHARED;

/// The guest's first program, with [`SHARED_HERE`] in it.
const INIT: &str = include_str!("init.sh");
/// Stands for the folders that a server in a root of its own shares with the guest.
const SHARED_HERE: &str = "@SHARED@";

/// Writes it to `file`, from what [`super::root`] has taken out of the root.
pub(super) fn make(early: &Path, file: &Path) -> Result<()> {
    let staging = tempfile::tempdir()?;
    let tree = staging.path();
    for name in ["bin", "dev", "proc", "root", "sys", "modules"] {
        fs::create_dir(tree.join(name))?;
    }
    fs::copy(early.join("busybox"), tree.join("bin/busybox"))?;
    for module in fs::read_dir(early.join("modules"))? {
        let module = module?;
        fs::copy(module.path(), tree.join("modules").join(module.file_name()))?;
    }
    fs::write(tree.join("init"), init())?;
    fs::set_permissions(tree.join("init"), Permissions::from_mode(0o755))?;
    // The busybox that goes into it also packs it: it is linked statically and needs nothing here.
    let status = Command::new("sh")
        .args(["-c", "find . | ./bin/busybox cpio -o -H newc"])
        .current_dir(tree)
        .stdin(Stdio::null())
        .stdout(File::create(file)?)
        .stderr(Stdio::null())
        .status()?;
    ensure!(status.success(), "failed to pack the initial RAM disk: {status}");
    Ok(())
}

fn init() -> String {
    INIT.replace(SHARED_HERE, &SHARED.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_has_the_shared_folders_once() {
        assert_eq!(INIT.matches(SHARED_HERE).count(), 1);
        assert!(init().contains("for folder in dev proc sys data lab run tmp var/tmp; do"));
    }
}
