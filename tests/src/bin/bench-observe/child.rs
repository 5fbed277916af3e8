//! What a program of its own process costs: time, and its highest resident memory.
//!
//! The kernel counts the memory of a child's parent, as it was at the child's exec, among the child's
//! (`exec_mmap`, fs/exec.c, Linux 6.18). So a small process stands between: this program once more.
#![expect(unsafe_code, reason = "getrusage has no safe wrapper here")]

use std::io;
use std::mem::MaybeUninit;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::sample::milliseconds;

/// Name of the argument by which this program becomes the one in between.
pub(crate) const ARGUMENT: &str = "measure-child";

/// What one run used.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Used {
    /// From start to end.
    pub(crate) wall_ms: f64,
    /// On all CPUs, in user and kernel mode.
    pub(crate) cpu_ms: f64,
    /// Highest resident memory, files that are mapped included.
    pub(crate) peak_bytes: u64,
}

/// Runs `command` to its end, its output dropped.
pub(crate) fn measure(command: &Command) -> Result<Used> {
    let mut between = Command::new(std::env::current_exe().context("failed to find this program")?);
    between.arg(ARGUMENT).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => between.env(name, value),
            None => between.env_remove(name),
        };
    }
    let text = test_servers::command::output(&mut between)?;
    serde_json::from_str(&text).with_context(|| format!("`{text}` has no usage"))
}

/// The process in between: runs the program named by `arguments` and prints what it used.
pub(crate) fn stand_between(arguments: &[String]) -> Result<()> {
    let (program, rest) = arguments.split_first().context("no program to measure")?;
    let start = Instant::now();
    let output = Command::new(program)
        .args(rest)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .with_context(|| format!("failed to start `{program}`"))?;
    let wall_ms = milliseconds(start.elapsed());
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{program}`: {}: {}", output.status, complaint.trim_end());
    let usage = children()?;
    let time = |time: libc::timeval| time.tv_sec as f64 * 1e3 + time.tv_usec as f64 / 1e3;
    let used = Used {
        wall_ms,
        cpu_ms: time(usage.ru_utime) + time(usage.ru_stime),
        peak_bytes: u64::try_from(usage.ru_maxrss)? * 1024,
    };
    println!("{}", serde_json::to_string(&used)?);
    Ok(())
}

fn children() -> io::Result<libc::rusage> {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is to memory of the right type, which the kernel fills.
    let done = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: getrusage has succeeded, so all of it is written.
    Ok(unsafe { usage.assume_init() })
}
