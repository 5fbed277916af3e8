//! The folder and the network namespaces of one laboratory, and how they go away whatever happens.
//!
//! Every process of a laboratory runs in one of its namespaces, so the namespaces name all that has to be ended. Three
//! things see to it: [`LabFolder`] when it is dropped; a watchdog, a shell that waits on a pipe which only the owner holds open, when the
//! owner is killed; and a sweep at the next start for what a crash of the machine or a killed watchdog left (folders).

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use test_servers::cache::Cache;
use test_servers::command;
use test_servers::lock::is_held;

use crate::wait;

/// First letters of all namespaces of laboratories.
const PREFIX: &str = "poolferry-";

/// A laboratory that gets the signal to end is gone within this time.
const END_LIMIT: Duration = Duration::from_secs(60);

/// Ends and removes all of the laboratory `$1` whose folder is `$2`. Network namespaces are named `$1-SITE`.
const CLEAR: &str = r#"
for space in $(ip netns list | cut -d ' ' -f 1 | grep "^$1-"); do
    tries=0
    while pids=$(ip netns pids "$space") && [ -n "$pids" ] && [ $tries -lt 100 ]; do
        kill -KILL $pids 2>/dev/null
        sleep 0.05
        tries=$((tries + 1))
    done
    ip netns delete "$space"
done
rm -rf -- "$2"
rm -f -- "$2.lock"
"#;

/// A folder for the files of one laboratory, and the name of its namespaces.
#[derive(Debug)]
pub struct LabFolder {
    name: String,
    path: PathBuf,
    watchdog: Child,
    _lock: File,
}

impl LabFolder {
    /// Makes an empty folder, and clears away laboratories whose owner is dead.
    ///
    /// # Errors
    /// The cache folder cannot be written, or no shell can be started.
    pub fn new(cache: &Cache) -> Result<Self> {
        let all = cache.root().join("labs");
        fs::create_dir_all(&all)?;
        sweep(&all)?;
        let path = tempfile::Builder::new().prefix(PREFIX).rand_bytes(5).tempdir_in(&all)?.keep();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Its text is the owner's process id.
        let lock = File::create(path.with_added_extension("lock"))?;
        lock.lock()?;
        writeln!(&lock, "{}", std::process::id())?;
        let watchdog = Command::new("sh")
            .args(["-c", &format!("read -r _ && exit 0\n{CLEAR}"), "watchdog", &name])
            .arg(&path)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0) // not hit by the terminal's Ctrl-C
            .spawn()
            .context("failed to start the watchdog of a laboratory")?;
        Ok(Self { name, path, watchdog, _lock: lock })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Name of the network namespace of `site`.
    #[must_use]
    pub fn namespace(&self, site: &str) -> String {
        format!("{}-{site}", self.name)
    }
}

impl Drop for LabFolder {
    fn drop(&mut self) {
        let cleared = clear(&self.name, &self.path);
        // If that failed, the end of the pipe without a line makes the watchdog try again.
        if let (Some(mut pipe), Ok(())) = (self.watchdog.stdin.take(), cleared) {
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.watchdog.wait();
    }
}

fn clear(name: &str, path: &Path) -> Result<()> {
    command::output(Command::new("sh").args(["-c", CLEAR, "clear", name]).arg(path)).map(drop)
}

/// Clears the laboratories whose lock nobody holds.
///
/// # Errors
/// The folder of laboratories cannot be read, or something of a dead one does not go away.
fn sweep(all: &Path) -> Result<()> {
    for entry in fs::read_dir(all)? {
        let lock = entry?.path();
        if is_held(&lock) == Some(false) {
            let path = lock.with_extension("");
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            clear(&name, &path)
                .with_context(|| format!("failed to clear away the dead laboratory {name}"))?;
        }
    }
    Ok(())
}

/// Ends all laboratories: those that run get a signal and a moment to end, those whose owner is dead are
/// cleared away.
///
/// # Errors
/// Something of one does not go away.
pub fn end_all(cache: &Cache) -> Result<()> {
    let all = cache.root().join("labs");
    if !all.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(&all)? {
        let path = entry?.path();
        let owner = fs::read_to_string(&path).ok().and_then(|pid| pid.trim().parse().ok());
        if is_held(&path) == Some(true)
            && let Some(owner) = owner.and_then(Pid::from_raw)
        {
            let _ = kill_process(owner, Signal::TERM);
            wait::until("the end of a laboratory", END_LIMIT, || {
                Ok((!path.exists()).then_some(()))
            })?;
        }
    }
    sweep(&all)
}
