//! `poolferry-host watchdog`: outlives a driver that was killed, to let its migration go on.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::{CommandExt as _, parent_id};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use qemu_glue::source::{DONE, Options, Watchdog};

/// Its output when it has read the limits, and before the reason when it cannot.
const READY: &str = "ready";
const NOTHING: &str = "nothing to watch: ";

/// The driver is who has started this program, and holds the other end of standard input.
#[derive(Args)]
pub(crate) struct WatchdogArgs {
    #[arg(long)]
    qmp: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &WatchdogArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stood_by = runtime.block_on(stand_by(args));
    runtime.shutdown_background();
    stood_by
}

async fn stand_by(args: &WatchdogArgs) -> Result<()> {
    let watchdog = match Watchdog::new(&args.qmp, parent_id()).await {
        Ok(watchdog) => watchdog,
        Err(error) => {
            // The driver may meet the same error, and reports it first.
            let line = format!("{NOTHING}{}\n", foreign::shown(&error.to_string()));
            outlet::stdout().push(line.as_bytes());
            return Ok(());
        }
    };
    outlet::stdout().push(format!("{READY}\n").as_bytes());
    if watchdog.stand_by(&args.qmp, tokio::io::stdin()).await? {
        log::warn!(
            "`poolferry-host migrate` is gone: QEMU has the limits again that it had before, and a migration \
             that still goes on is a stock one"
        );
    }
    Ok(())
}

/// A watchdog that stands by until it is [`done`](Self::done). Dropped before, it gives QEMU the user's limits, and outlives
/// this program for that.
pub(crate) struct Running(Child);

impl Running {
    /// Starts it, and waits until it knows the limits. It is in a process group of its own, where Ctrl-C
    /// does not reach it.
    pub(crate) fn start(options: &Options) -> Result<Self> {
        let program = std::env::current_exe().context("this program is nowhere")?;
        let mut command = Command::new(&program);
        command.arg("watchdog").arg("--qmp").arg(&options.qmp);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let started = command.spawn();
        let mut child =
            started.with_context(|| format!("failed to start {}", foreign::path(&program)))?;
        let stdout = child.stdout.take().context("it has no output")?;
        // From here on it is ended with this value.
        let watchdog = Self(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).context("it prints nothing")?;
        match line.trim_end() {
            READY => Ok(watchdog),
            other => match other.strip_prefix(NOTHING) {
                Some(reason) => Err(anyhow!("{}", foreign::shown(reason))),
                None => Err(anyhow!("it has failed; its own messages are above")),
            },
        }
    }

    /// QEMU has the user's limits, or no migration to come: the watchdog gets a message, and ends.
    pub(crate) fn done(mut self) {
        if let Some(mut driver) = self.0.stdin.take() {
            // One that has exited needs no message.
            let _ = driver.write_all(&[DONE]);
        }
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::ChildStdout;

    use super::*;

    /// A program that prints what it reads, in place of a watchdog.
    fn parrot() -> (Running, ChildStdout) {
        let mut command = Command::new("cat");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        (Running(child), output)
    }

    #[test]
    fn a_watchdog_is_sent_away_only_by_who_says_so() {
        let mut bytes = Vec::new();
        let (watchdog, mut output) = parrot();
        drop(watchdog);
        output.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"", "its pipe has ended, as when the driver is killed");
        let (watchdog, mut output) = parrot();
        watchdog.done();
        output.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, [DONE]);
    }
}
