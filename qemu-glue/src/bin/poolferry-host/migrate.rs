//! `poolferry-host migrate`: moves a VM away from this host.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::{Args, ValueEnum};
use migration_record::{MigrationStatus, Report};
use outlet::Endings;
use qemu_glue::channel::Security;
use qemu_glue::multifd::Multifd;
use qemu_glue::qmp::MigrationAddress;
use qemu_glue::source::{self, MigrateError, MigrationMode, Options, Route, cancellation};

use crate::failure::Hint;
use crate::keygen;
use crate::show::{Jsonl, Plain, ProgressBars, Show};
use crate::watchdog::Running;

/// Migrates a VM away from this host. `poolferry-host receive` has to run at the destination.
///
/// Ctrl-C cancels the migration, as SIGTERM and SIGHUP do; the VM then runs on here. A second one ends this program at
/// once, and QEMU's migration goes on as a stock one.
#[derive(Args)]
pub(crate) struct MigrateArgs {
    /// QEMU's monitor: the socket of `-qmp unix:SOCKET,server=on,wait=off`.
    #[arg(long, value_name = "SOCKET")]
    qmp: PathBuf,
    /// The guest agent's port: the socket of the VM's chardev.
    #[arg(long, value_name = "SOCKET")]
    agent: Option<PathBuf>,
    /// `poolferry-host receive` at the destination, where it listens.
    #[arg(long, value_name = "HOST:PORT", value_parser = peer)]
    to: Option<String>,
    /// Key of the channel to it, the same file on both hosts (make one with `poolferry-host keygen FILE`).
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Neither encrypt nor authenticate the channel; only for networks of your own.
    #[arg(long, conflicts_with = "key")]
    plain: bool,
    /// Skip what storage has, or let QEMU send everything.
    #[arg(long, value_enum, default_value = "poolferry")]
    mode: ModeArg,
    /// Address of the destination's QEMU, as `tcp:HOST:PORT`. `receive` gives it by itself; if set here, QEMU sends
    /// all memory there when `receive` cannot be reached.
    #[arg(long, required_if_eq("mode", "stock"))]
    uri: Option<String>,
    /// Most bytes per second on the migration link, 0 for no limit [default: QEMU's setting].
    #[arg(long, value_name = "BYTES")]
    max_bandwidth: Option<u64>,
    /// Milliseconds that the VM may be stopped for the switchover [default: QEMU's setting].
    #[arg(long, value_name = "MS")]
    downtime_limit: Option<u64>,
    /// Cancel the migration after this many seconds [default: never].
    #[arg(long, value_name = "S")]
    timeout: Option<u64>,
    /// Seconds that the guest may take for its page list; after that QEMU sends everything.
    #[arg(long, value_name = "S", default_value_t = 30)]
    list_timeout: u64,
    /// Never send by network what storage can deliver: fewest bytes on the migration link instead of the shortest
    /// time.
    #[arg(long)]
    no_share: bool,
    /// Connections of QEMU's own stream (its capability `multifd`), set on both sides [default: QEMU's setting; 4
    /// with `--compress`].
    #[arg(long, value_name = "COUNT")]
    connections: Option<u32>,
    /// Compression of QEMU's own stream: `zstd`, `zlib`, or any other that QEMU has [default: QEMU's setting].
    #[arg(long, value_name = "METHOD")]
    compress: Option<String>,
    /// Bars on a terminal and lines elsewhere, or one JSON object a line.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Write report.json and report.html into this folder.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Do not probe QEMU's functions; the report then lacks their timeline.
    #[arg(long)]
    no_probes: bool,
    /// Keep the source's QEMU with its VM paused after the migration [default: it quits].
    #[arg(long)]
    leave_paused: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeArg {
    /// Pages that storage has are skipped.
    Poolferry,
    /// QEMU alone, with the same report.
    Stock,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For machines.
    Jsonl,
}

/// What becomes of a migration whose driver was killed when no watchdog runs.
const UNWATCHED: &str = "its migration waits, at the source, for the next `poolferry-host migrate`";

/// What becomes of limits that were not put back when somebody does.
const LEFT: &str = "QEMU still has the limits of the migration: `poolferry-host watchdog` goes on, and sets those \
                    that it had before as soon as QEMU answers, for up to 30 s";

/// Runs the command; only a migration that completed is a success.
pub(crate) fn run(args: &MigrateArgs) -> Result<bool> {
    let options = options(args)?;
    let mut show: Box<dyn Show> = match args.format {
        Format::Jsonl => Box::new(Jsonl::new()),
        Format::Text if ProgressBars::can_be_shown() => Box::new(ProgressBars::new()),
        Format::Text => Box::new(Plain::default()),
    };
    let watched = args.mode == ModeArg::Poolferry;
    let (watchdog, unwatched) = match watched.then(|| Running::start(&options)) {
        Some(Ok(watchdog)) => (Some(watchdog), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    let runtime = tokio::runtime::Runtime::new().context("failed to start")?;
    let mut throttled = false;
    let report = runtime.block_on(migrate(&options, show.as_mut(), unwatched, &mut throttled));
    // A read that a dead storage never answers must not keep the process.
    runtime.shutdown_background();
    let completed = report.as_ref().is_ok_and(|report| report.status == MigrationStatus::Completed);
    // A watchdog that gets no message acts, as it does when this program crashes.
    match watchdog {
        Some(watchdog) if completed || !throttled => watchdog.done(),
        Some(_) => log::warn!("{LEFT}"),
        None => {}
    }
    let report = report?;
    // Before anything that can fail: where the VM is now matters more than its record.
    show.end(&report);
    if let Some(folder) = &args.report {
        write(&report, folder)?;
    }
    if matches!(args.format, Format::Text) {
        let page = args.report.as_ref().map(|folder| folder.join(migration_report::HTML));
        outlet::stdout().push(format!("{}\n", last_line(&report, page.as_deref())).as_bytes());
    }
    Ok(report.status == MigrationStatus::Completed)
}

/// How it ended, where the VM runs, and where the page is.
fn last_line(report: &Report, page: Option<&Path>) -> String {
    let mut line = match report.status {
        MigrationStatus::Completed => {
            let pages = &report.pages;
            let restored = match report.mode == "poolferry" {
                true => format!("{} pages installed, ", pages.installed),
                false => String::new(),
            };
            format!(
                "completed in {:.2} s: the VM runs at the destination ({restored}{} by network)",
                report.total_time_s,
                indicatif::BinaryBytes(report.network_bytes)
            )
        }
        MigrationStatus::Failed => "failed: the VM runs on here".to_owned(),
        MigrationStatus::Cancelled => "cancelled: the VM runs on here".to_owned(),
    };
    if let Some(reason) =
        report.reason.as_ref().filter(|_| report.status != MigrationStatus::Completed)
    {
        line.push_str(&format!(" ({reason})"));
    }
    if let Some(page) = page {
        line.push_str(&format!("; report: {}", foreign::path(page)));
    }
    line
}

/// Writes record and page; where that fails, the error includes how the migration itself ended.
fn write(report: &Report, folder: &Path) -> Result<()> {
    let written = report
        .write(folder)
        .and_then(|_| migration_report::write_page(folder, std::slice::from_ref(report)));
    written.map(drop).map_err(|error| {
        let ended = match report.status {
            MigrationStatus::Completed => "the migration completed",
            MigrationStatus::Failed => "the migration failed, the VM runs on here",
            MigrationStatus::Cancelled => "the migration was cancelled, the VM runs on here",
        };
        let text = format!("{ended}, but its report is not written; {}", error.hint());
        anyhow::Error::new(error).context(text)
    })
}

/// `throttled`: whether QEMU has other limits than before, at the end and meanwhile. Why no watchdog runs (`unwatched`) is reported
/// when there are any: a migration that does not begin has one reason, which is reported first.
async fn migrate(
    options: &Options,
    show: &mut dyn Show,
    mut unwatched: Option<anyhow::Error>,
    throttled: &mut bool,
) -> Result<Report> {
    let (canceller, cancel) = cancellation();
    let mut endings = Endings::watch().context("failed to watch for Ctrl-C")?;
    tokio::spawn(async move {
        canceller.cancel(endings.next().await);
        endings.next().await;
        outlet::exit(130);
    });
    let mut observer = |update: &source::Update| match update {
        source::Update::Limits { ours } => {
            *throttled = *ours;
            if let Some(error) = unwatched.take_if(|_| *throttled) {
                log::warn!("no watchdog runs: if this program is killed, {UNWATCHED}: {error:#}");
            }
        }
        update => show.update(update),
    };
    source::migrate(options, cancel, &mut observer).await.map_err(explained)
}

/// `HOST:PORT`; both have to be there.
fn peer(text: &str) -> Result<String> {
    let address: MigrationAddress = text.parse()?;
    anyhow::ensure!(
        address.port != 0,
        "no port: write HOST:PORT, where `receive --listen` listens"
    );
    Ok(text.to_owned())
}

/// All options that are missing at once, not one after the other.
fn missing(args: &MigrateArgs) -> Vec<&'static str> {
    let wanted = [
        (args.agent.is_none(), "--agent SOCKET"),
        (args.to.is_none(), "--to HOST:PORT"),
        (args.key.is_none() && !args.plain, "--key FILE (or --plain)"),
    ];
    wanted.into_iter().filter_map(|(is_missing, option)| is_missing.then_some(option)).collect()
}

fn options(args: &MigrateArgs) -> Result<Options> {
    let missing = missing(args);
    if args.mode == ModeArg::Poolferry && missing.len() > 1 {
        let hint = "`poolferry-host migrate --help` explains them; `--mode stock --uri URI` needs none of them";
        return Err(anyhow!("options are missing: {}", missing.join(", ")).context(Hint::new(hint)));
    }
    let mode = match args.mode {
        ModeArg::Stock => {
            MigrationMode::Stock { uri: args.uri.clone().context("`--uri` is missing")? }
        }
        ModeArg::Poolferry => MigrationMode::Poolferry(Route {
            agent: args.agent.clone().context("`--agent` is missing")?,
            to: args.to.clone().context("`--to` is missing")?,
            uri: args.uri.clone(),
            security: security(args)?,
            share: !args.no_share,
            multifd: multifd(args),
            list_timeout: Duration::from_secs(args.list_timeout),
            silence: source::SILENCE,
        }),
    };
    Ok(Options {
        qmp: args.qmp.clone(),
        mode,
        max_bandwidth: args.max_bandwidth,
        downtime_limit_ms: args.downtime_limit,
        timeout: args.timeout.map(Duration::from_secs),
        probes: !args.no_probes,
        leave_paused: args.leave_paused,
    })
}

/// Connections of QEMU's stream where only compression is requested.
const CONNECTIONS: u32 = 4;

fn multifd(args: &MigrateArgs) -> Option<Multifd> {
    let MigrateArgs { connections, compress, .. } = args;
    (connections.is_some() || compress.is_some()).then(|| Multifd {
        channels: connections.unwrap_or(CONNECTIONS),
        compression: compress.clone().unwrap_or_else(|| "none".to_owned()),
    })
}

fn security(args: &MigrateArgs) -> Result<Security> {
    if args.key.is_none() && !args.plain {
        return Err(anyhow!(
            "give `--key FILE` (made with `poolferry-host keygen FILE`, the same on both hosts), or `--plain` where \
             nobody else is on the network"
        ));
    }
    keygen::security(args.key.as_deref())
}

fn explained(error: MigrateError) -> anyhow::Error {
    match error.hint() {
        Some(hint) => anyhow::Error::new(error).context(Hint::new(hint)),
        None => anyhow!(error),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: MigrateArgs,
    }

    #[test]
    fn all_missing_options_are_told_at_once() {
        let line = Line::try_parse_from(["migrate", "--qmp", "/none"]).ok().unwrap();
        let message = format!("{:#}", options(&line.args).err().unwrap());
        assert!(
            ["--agent", "--to", "--key"].iter().all(|option| message.contains(option)),
            "{message}"
        );
    }

    #[test]
    fn a_destination_has_a_port() {
        for wrong in ["127.0.0.1", "127.0.0.1:0", "::1", ":4445", ""] {
            assert!(peer(wrong).is_err(), "{wrong}");
        }
        assert!(peer("[::1]:4445").is_ok() && peer("host:4445").is_ok());
    }

    #[test]
    fn the_last_line_says_where_the_vm_is() {
        let mut report =
            Report { mode: "poolferry".into(), total_time_s: 0.4, ..Report::default() };
        report.status = MigrationStatus::Completed;
        report.pages.installed = 7;
        report.network_bytes = 3 << 20;
        let wanted = "completed in 0.40 s: the VM runs at the destination (7 pages installed, 3.00 MiB \
                      by network); report: out/report.html";
        assert_eq!(last_line(&report, Some(Path::new("out/report.html"))), wanted);
        report.status = MigrationStatus::Failed;
        report.reason = Some("no route".into());
        assert_eq!(last_line(&report, None), "failed: the VM runs on here (no route)");
    }
}
