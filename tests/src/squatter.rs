//! Processes of a stranger that are called like a server.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The stranger: `nobody`.
pub const STRANGER: u32 = 65534;

/// Copies of a program under the name `mysqld` or another, owned by the stranger.
#[derive(Debug)]
pub struct Squat {
    folder: TempDir,
    name: &'static str,
}

impl Squat {
    /// Copies `program`.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn of(program: &Path) -> Result<Self> {
        Self::named("mysqld", program)
    }

    /// Copies `program` under a name.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn named(name: &'static str, program: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let squat = Self { folder, name };
        fs::copy(program, squat.program())?;
        chown(squat.program(), Some(STRANGER), Some(STRANGER))?;
        Ok(squat)
    }

    /// The copy.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        self.folder.path().join(self.name)
    }

    /// Starts it as the stranger, in the folder `current`, whoever owns that.
    ///
    /// # Errors
    /// When it does not run within ten seconds.
    pub fn start(&self, current: &Path, arguments: &[&str]) -> Result<Squatter> {
        const RUN: &str =
            r#"cd "$1" && shift && exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@""#;
        let mut command = Command::new("sh");
        command.args(["-c", RUN, "sh"]).arg(current).arg(self.program()).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let squatter = Squatter(command.spawn().context("failed to start a squatter")?);
        let exe = format!("/proc/{}/exe", squatter.pid());
        let since = Instant::now();
        while fs::read_link(&exe).ok() != Some(self.program()) {
            ensure!(since.elapsed() < Duration::from_secs(10), "the squatter does not run");
            sleep(Duration::from_millis(1));
        }
        Ok(squatter)
    }
}

/// One of them; it ends with its test.
#[derive(Debug)]
pub struct Squatter(Child);

impl Squatter {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Stops it, so that it stays as it is.
    ///
    /// # Errors
    /// When it is gone.
    pub fn stop(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.0), Signal::STOP)?)
    }
}

impl Drop for Squatter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
