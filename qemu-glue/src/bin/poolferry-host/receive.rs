//! `poolferry-host receive`: restores at the destination.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
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

use crate::failure::{Hint, write_error};
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
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen_address)]
    listen: SocketAddr,
    /// Where QEMU is to listen, as the source reaches it; without a port it takes a free one.
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = migration_address)]
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
        None => {
            text.split_once('=').context("write NAME=URI, e.g. serial:data=file:/dev/vg/data")?
        }
    };
    let address = uri.parse().map_err(|error: qemu_glue::storage::AddressError| {
        let hint = error.hint();
        anyhow!("{error}; {hint}, e.g. serial:data=file:/dev/vg/data")
    })?;
    Ok((device.to_owned(), address))
}

fn listen_address(text: &str) -> Result<SocketAddr> {
    text.parse().map_err(|_| anyhow!("write ADDRESS:PORT, e.g. 0.0.0.0:4445"))
}

/// As the source reaches it: no source connects to port 0.
fn migration_address(text: &str) -> Result<MigrationAddress> {
    let address: MigrationAddress = text.parse()?;
    let names_zero = |port: &str| !port.is_empty() && port.bytes().all(|digit| digit == b'0');
    let is_bare = text.parse::<std::net::Ipv6Addr>().is_ok();
    if !is_bare && text.rsplit_once(':').is_some_and(|(_, port)| names_zero(port)) {
        anyhow::bail!("port 0 is none: write HOST:PORT, or HOST alone for any free port");
    }
    Ok(address)
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
    let listener = listener.map_err(|error| not_listening(error, args.listen))?;
    if args.format == ReceiveFormat::Jsonl {
        outlet::stdout().set_note(|lines| {
            format!("{}\n", serde_json::json!({ "event": "dropped", "lines": lines }))
        });
    }
    let mut output = Output { format: args.format, last: Instant::now() };
    output.listening(listener.local_addr()?);
    let mut endings = Endings::watch()?;
    let serves = AtomicBool::new(false);
    let served = async {
        for warning in dest::look_ahead(&options).await {
            let qmp = foreign::path(&args.qmp);
            log::warn!("{warning}; `poolferry-host doctor --qmp {qmp}` checks it");
        }
        migrations(listener, &options, args.once, &mut output, &serves).await
    };
    tokio::select! {
        served = served => served,
        _ = endings.next() => {
            write_error(match serves.load(Ordering::Relaxed) {
                true => "stopped: pages that were not installed travel by network",
                false => "stopped",
            });
            outlet::exit(130);
        }
    }
}

fn not_listening(error: std::io::Error, address: SocketAddr) -> anyhow::Error {
    let hint = match error.kind() {
        std::io::ErrorKind::AddrNotAvailable => "name an address of this host, or 0.0.0.0 for all",
        std::io::ErrorKind::AddrInUse => "name a free port; another `receive` may use this one",
        std::io::ErrorKind::PermissionDenied => "name a port from 1024 on, or run as root",
        _ => "name an address and a free port of this host",
    };
    anyhow::Error::new(error)
        .context(format!("failed to listen on {address}"))
        .context(Hint::new(hint))
}

/// `serves`: whether a migration is under way.
async fn migrations(
    listener: TcpListener,
    options: &Options,
    once: bool,
    output: &mut Output,
    serves: &AtomicBool,
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
            serves.store(true, Ordering::Relaxed);
            output.event(event);
        };
        let received = dest::receive_admitted(admitted, options, &mut observer).await;
        serves.store(false, Ordering::Relaxed);
        match received {
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
        print_line(&line);
    }

    fn event(&mut self, event: &ReceiveEvent) {
        let line = match self.format {
            ReceiveFormat::Jsonl => foreign::json_text(event).ok(),
            ReceiveFormat::Text => self.text(event),
        };
        if let Some(line) = line {
            print_line(&line);
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

fn print_line(line: &str) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_source_is_sent_to_port_zero() {
        for wrong in ["host:0", "192.0.2.2:0", "[::1]:0", "host:00"] {
            let message = migration_address(wrong).unwrap_err().to_string();
            assert!(message.contains("HOST:PORT"), "{wrong}: {message}");
        }
        for right in ["host", "192.0.2.2:4444", "::", "fe80::0", "[::1]", "host:10"] {
            assert!(migration_address(right).is_ok(), "{right}");
        }
    }

    #[test]
    fn a_disk_without_a_place_is_told_what_to_write() {
        for wrong in ["foo", "serial:data=/dev/vg/data"] {
            let message = disk(wrong).unwrap_err().to_string();
            assert!(message.contains("e.g. serial:data=file:/dev/vg/data"), "{message}");
        }
    }
}
