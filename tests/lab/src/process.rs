//! Programs that run in a network namespace, each with a log of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// Bytes of a log that are worth showing.
const SHOWN_BYTES: usize = 3000;

/// A running program. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`, which writes what it has to say to `log`; `command` gives its arguments.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut command: Command, name: &str, log: &Path) -> Result<Self> {
        let file = File::options().append(true).create(true).open(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Self::start_as_it_is(command, name, log)
    }

    /// Starts `command` with the pipes that it has; `log` is where its errors go.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_as_it_is(mut command: Command, name: &str, log: &Path) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("failed to start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Its process id. `ip netns exec` becomes the program that it runs, so it is that program's.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The pipes of a program that was started with any.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    /// The kernel does not report it.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Fails when it has ended.
    ///
    /// # Errors
    /// It has ended; the text has the end of its log.
    pub fn still_runs(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!("{} ended: {status}\n{}", self.name, self.log_end()),
        }
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// It does not, within `limit`; it is then killed.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        let ended = wait::until(&what, limit, || Ok(self.child.try_wait()?));
        if ended.is_err() {
            self.kill();
        }
        ended
    }

    /// Sends it `signal`; one that is gone is no error.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The end of its log.
    #[must_use]
    pub fn log_end(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(SHOWN_BYTES)..]).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
