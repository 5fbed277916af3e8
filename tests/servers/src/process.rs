//! Ends child processes: politely, then by force.

use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Time between two looks at a condition that is waited for.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// Sends SIGTERM to `target` (the child itself, or the process it wraps) and waits for `child`.
///
/// # Errors
/// The child did not end within `limit`; it was then killed.
pub(crate) fn terminate(child: &mut Child, target: u32, limit: Duration) -> Result<ExitStatus> {
    signal(target, Signal::TERM);
    let since = Instant::now();
    while since.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(POLL);
    }
    kill(child)?;
    bail!("process {target} did not end within {limit:?} of SIGTERM and was killed")
}

/// Kills `child` and waits for it.
pub(crate) fn kill(child: &mut Child) -> Result<ExitStatus> {
    // An error here means that it has ended.
    let _ = child.kill();
    child.wait().context("failed to wait for a killed process")
}

/// Sends `signal` to the process `pid`; one that is gone is no error.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}
