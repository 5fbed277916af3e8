//! External programs: every failure has the command line and what it wrote to standard error.

use std::io;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Bytes of a failed program's output that are worth showing.
const SHOWN_BYTES: usize = 2000;

/// Runs `command` to its end and returns its standard output.
///
/// # Errors
/// The program cannot be started, or ends with another status than 0.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| not_started(command))?;
    check(command, &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Fails unless `output`, which `command` gave, is of a success.
///
/// # Errors
/// The program ended with another status than 0.
pub fn check(command: &Command, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let shown = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    let shown = &shown[shown.len().saturating_sub(SHOWN_BYTES)..];
    bail!(
        "`{}` failed: {}\n{}",
        line(command),
        output.status,
        String::from_utf8_lossy(shown).trim_end()
    );
}

/// Runs `command` with its output on the terminal, to its end.
///
/// # Errors
/// The program cannot be started, or ends with another status than 0.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| not_started(command))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Whether `command` can be run and ends with status 0; its output is dropped.
#[must_use]
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether a program of this name can be started.
#[must_use]
pub fn exists(program: &str) -> bool {
    let probed = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    !matches!(probed, Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// The command line of `command`, as one would type it.
#[must_use]
pub fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

fn not_started(command: &Command) -> String {
    format!("failed to start `{}`", command.get_program().to_string_lossy())
}
