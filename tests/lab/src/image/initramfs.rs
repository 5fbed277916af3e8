//! The initial RAM disk: a shell script and the few modules that lead to the root disk.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

/// The guest's first program.
const INIT: &str = include_str!("init.sh");

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
    fs::write(tree.join("init"), INIT)?;
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
