//! Cleans up after a server whose owner was killed and could not do it.
//!
//! `PR_SET_PDEATHSIG` would not do: it fires when the *thread* that started the server ends, and a test harness has
//! a thread for each test. The watchdog is a shell that waits on a pipe which only the owner holds open.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// A line means that all is well. The end of the pipe without one means that the owner is dead.
const SCRIPT: &str = r#"
read -r _ && exit 0
pid=$1; shift
kill -KILL "$pid"
tries=0
while kill -0 "$pid" 2>/dev/null && [ $tries -lt 200 ]; do sleep 0.05; tries=$((tries + 1)); done
rm -rf -- "$@"
"#;

/// A process that outlives its owner just long enough to kill the server and remove its folders.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Watches over the process `pid` and its `folders`.
    pub(crate) fn new(pid: u32, folders: &[&Path]) -> Result<Self> {
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "watchdog"])
            .arg(pid.to_string())
            .args(folders)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0) // not hit by the terminal's Ctrl-C
            .spawn()
            .context("failed to start the watchdog of a server")?;
        Ok(Self { shell })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some(mut pipe) = self.shell.stdin.take() {
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.shell.wait();
    }
}
