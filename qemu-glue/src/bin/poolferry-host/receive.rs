//! `poolferry-host receive`: restores at the destination.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use clap::{Args, ValueEnum};
use outlet::Endings;
use qemu_glue::channel::Progress;
use qemu_glue::dest::{
    self, Admission, Limits, Options, Outcome, RateLimitedLog, ReceiveError, ReceiveEvent,
};
use qemu_glue::qmp::MigrationAddress;
use qemu_glue::storage::Address;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::sleep;

use crate::complaint::{Hint, complain};
use crate::keygen;

/// How long no source is served after so many have failed or had nothing restored in a row, each time, and at most.
const AGAIN: Duration = Duration::from_millis(50);
const SELDOM: Duration = Duration::from_secs(1);

/// Waits for a source, and restores from storage the pages that it skips.
///
/// Start the destination's QEMU with `-incoming defer` and its RAM as memory-backend-memfd,share=on.
#[derive(Args)]
pub(crate) struct ReceiveArgs {
    /// QMP socket of the QEMU that waits for the VM.
    #[arg(long, value_name = "SOCKET")]
    qmp: PathBuf,
    /// Where sources connect; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// Where QEMU is to listen, as the source reaches it; without a port it takes a free one.
    #[arg(long, value_name = "ADDR[:PORT]")]
    migration_address: MigrationAddress,
    #[command(flatten)]
    security: SecurityArgs,
    /// Where to read a disk of the VM, if not where this host's QEMU has it: its name in the guest's page list
    /// (`serial:data`), and file:PATH, nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=PATH.
    #[arg(long, value_name = "NAME=URI", value_parser = disk)]
    disk: Vec<(String, Address)>,
    /// Seconds without an answer after which the pages of a disk go by network.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    storage_timeout: Duration,
    /// Seconds without progress after which a source is dropped, while no migration comes in.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    source_timeout: Duration,
    /// Do not probe QEMU's functions; the report then lacks their timeline.
    #[arg(long)]
    no_probes: bool,
    /// End after the first migration.
    #[arg(long)]
    once: bool,
    /// For people, or JSON Lines.
    #[arg(long, value_enum, default_value = "text")]
    format: ReceiveFormat,
}

/// One of the two has to be chosen.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct SecurityArgs {
    /// Encrypt and authenticate the channel with the key in this file, the same on both hosts
    /// (make one with `poolferry-host keygen FILE`).
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Neither encrypt nor authenticate the channel; only for networks of your own.
    #[arg(long)]
    plain: bool,
}

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq)]
enum ReceiveFormat {
    /// Lines for people.
    Text,
    /// One event a line.
    Jsonl,
}

/// `NAME=URI`.
pub(crate) fn disk(text: &str) -> Result<(String, Address)> {
    // A name may have the sign too, and so may an URI.
    let at =
        ["=file:", "=nbd://", "=nbd+unix:"].iter().filter_map(|scheme| text.find(scheme)).min();
    let (device, uri) = match at {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => text.split_once('=').context("write NAME=URI")?,
    };
    let address = uri.parse().map_err(|error: qemu_glue::storage::AddressError| {
        let hint = error.hint();
        anyhow!(error).context(hint)
    })?;
    Ok((device.to_owned(), address))
}

fn seconds(text: &str) -> Result<Duration> {
    let seconds: f64 = text.parse()?;
    anyhow::ensure!((0.1..=3600.0).contains(&seconds), "0.1 to 3600 seconds");
    Ok(Duration::from_secs_f64(seconds))
}

/// Runs the command.
pub(crate) fn run(args: &ReceiveArgs) -> Result<()> {
    let runtime = Runtime::new().context("failed to start")?;
    let result = runtime.block_on(serve(args));
    // A read that a dead storage never answers must not keep the process.
    runtime.shutdown_background();
    result
}

async fn serve(args: &ReceiveArgs) -> Result<()> {
    let security = keygen::security(args.security.key.as_deref())?;
    let options = Options {
        qmp: args.qmp.clone(),
        migration_address: args.migration_address.clone(),
        security,
        disks: args.disk.clone(),
        limits: Limits { patience: args.storage_timeout, ..Limits::default() },
        silence: args.source_timeout,
        probes: !args.no_probes,
    };
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.with_context(|| format!("failed to listen on {}", args.listen))?;
    if args.format == ReceiveFormat::Jsonl {
        outlet::stdout().set_note(|lines| {
            format!("{}\n", serde_json::json!({ "event": "dropped", "lines": lines }))
        });
    }
    let mut output = Output { format: args.format, last: Instant::now() };
    output.listening(listener.local_addr()?);
    let mut endings = Endings::watch()?;
    tokio::select! {
        served = migrations(listener, &options, args.once, &mut output) => served,
        _ = endings.next() => {
            complain("stopped: pages that were not installed travel by network");
            outlet::exit(130);
        }
    }
}

async fn migrations(
    listener: TcpListener,
    options: &Options,
    once: bool,
    output: &mut Output,
) -> Result<()> {
    let mut admission = Admission::start(listener, options.security.clone());
    let mut failures = RateLimitedLog::new("migrations that were not served to their end");
    let mut in_a_row = 0_u32;
    loop {
        let admitted = admission.next().await;
        let peer = admitted.peer();
        let mut begun = false;
        let mut observer = |event: &ReceiveEvent| {
            begun = true;
            output.event(event);
        };
        match dest::receive_admitted(admitted, options, &mut observer).await {
            Ok(_) if once => return Ok(()),
            Ok(outcome) if has_restored(&outcome) => in_a_row = 0,
            // Each is a few lines: who ends at once, again and again, is slowed like one that fails.
            Ok(_) => {
                in_a_row = in_a_row.saturating_add(1);
                sleep(AGAIN.saturating_mul(in_a_row).min(SELDOM)).await;
            }
            // Who did not even offer something was no source.
            Err(error) if once && begun => return Err(explained(error)),
            Err(error) => {
                let kind = error.kind();
                let text = || format!("{peer}: {}", line(&error));
                failures.warn(kind, text);
                in_a_row = in_a_row.saturating_add(1);
                sleep(AGAIN.saturating_mul(in_a_row).min(SELDOM)).await;
            }
        }
        failures.flush_if_due();
    }
}

/// One line for the log, the remedy at its end.
fn line(error: &ReceiveError) -> String {
    let hint = error.hint().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
    format!("the migration is no longer served: {}{hint}", foreign::Chain(error))
}

/// Whether there was anything to it.
const fn has_restored(outcome: &Outcome) -> bool {
    let progress = &outcome.finished.progress;
    progress.installed > 0 || progress.already_present > 0
}

fn explained(error: ReceiveError) -> anyhow::Error {
    let hint = error.hint();
    let error = anyhow::Error::new(error).context("the migration is no longer served");
    match hint {
        Some(hint) => error.context(Hint::new(hint)),
        None => error,
    }
}

/// Standard output. A migration neither waits for a reader that stalls nor ends with one that goes away.
struct Output {
    format: ReceiveFormat,
    last: Instant,
}

impl Output {
    fn listening(&mut self, address: SocketAddr) {
        let line = match self.format {
            ReceiveFormat::Text => format!("listening on {address}"),
            ReceiveFormat::Jsonl => {
                serde_json::json!({ "event": "listening", "address": address }).to_string()
            }
        };
        say(&line);
    }

    fn event(&mut self, event: &ReceiveEvent) {
        let line = match self.format {
            ReceiveFormat::Jsonl => foreign::json_text(event).ok(),
            ReceiveFormat::Text => self.text(event),
        };
        if let Some(line) = line {
            say(&line);
        }
    }

    fn text(&mut self, event: &ReceiveEvent) -> Option<String> {
        Some(match event {
            ReceiveEvent::Connected { migration } => format!("migration {migration}"),
            ReceiveEvent::Ready { uri, pages, bytes, devices_left_out } => {
                let mut text = format!("ready on {uri}: {pages} pages, {} MiB", bytes >> 20);
                for (index, reason) in devices_left_out {
                    text.push_str(&format!("\ndevice {index} is left out: {reason}"));
                }
                text
            }
            ReceiveEvent::Refused { reason, hint } if hint.is_empty() => {
                format!("not restoring: {reason}")
            }
            ReceiveEvent::Refused { reason, hint } => {
                format!("not restoring: {reason}\nhint: {hint}")
            }
            ReceiveEvent::Progress(_) if self.last.elapsed() < Duration::from_secs(1) => {
                return None;
            }
            ReceiveEvent::Progress(progress) => {
                self.last = Instant::now();
                counters(progress)
            }
            ReceiveEvent::Finished { outcome } => finished(outcome),
        })
    }
}

fn say(line: &str) {
    outlet::stdout().push(format!("{line}\n").as_bytes());
}

fn counters(progress: &Progress) -> String {
    format!(
        "{} pages installed, {} already present, {} not installed, {} MiB read",
        progress.installed,
        progress.already_present,
        progress.not_installed,
        progress.storage_bytes >> 20
    )
}

fn finished(outcome: &Outcome) -> String {
    let mut text = format!("{}: {}", outcome.finish.status, counters(&outcome.finished.progress));
    if let Some(reason) = &outcome.finish.reason {
        text.push_str(&format!("\n{reason}"));
    }
    for warning in &outcome.finished.warnings {
        text.push_str(&format!("\nnote: {warning}"));
    }
    text
}
