//! `poolferry trace`: the live viewer, or records on standard output.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use outlet::Endings;
use tokio::sync::{mpsc, watch};
use userspace::agent;
use userspace::model::Snapshot;
use userspace::observer::{ObserveError, ObserveOptions, Observer};
use userspace::openmetrics::MetricsServer;
use userspace::probes::ProbeOptions;
use userspace::stream;
use userspace::viewer::{self, Command, LinkRate, ViewerOptions};

use crate::failure::{self, Failure};
use crate::server_args::ServerArgs;

/// Options of `poolferry trace`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// Viewer, or records [default: viewer on a terminal, else text].
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Time between snapshots, e.g. `500ms`, `2s`.
    #[arg(long, default_value = "1s", value_parser = duration)]
    refresh: Duration,
    /// End after this time, e.g. `10s`, `5m`.
    #[arg(long, value_parser = duration)]
    duration: Option<Duration>,
    /// Write a record for every page event.
    #[arg(long)]
    events: bool,
    /// Add the physical frame to the records of page reads (an eBPF page-table walk); needs `--events`.
    #[arg(long, requires = "events")]
    walk: bool,
    /// Also probe commands and commits: rate and latency.
    #[arg(long)]
    queries: bool,
    /// Serve OpenMetrics on this address, e.g. `127.0.0.1:9464`.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = socket_address)]
    metrics: Option<SocketAddr>,
    /// Link that the estimate of a migration assumes, e.g. `1gbit`, `25gbit`.
    #[arg(long, value_name = "RATE", default_value_t = LinkRate::default())]
    link_rate: LinkRate,
    /// Size of the trace ring in bytes: at least 4096, rounded up to a power of two.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20,
          value_parser = clap::value_parser!(u32).range(4096..=1 << 30))]
    ring: u32,
}

/// What comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The full-screen viewer.
    Viewer,
    /// One line of figures per snapshot.
    Text,
    /// JSON Lines.
    Jsonl,
    /// Nothing, for `--metrics` alone.
    None,
}

pub(crate) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write ADDRESS:PORT, e.g. 127.0.0.1:9464".to_owned())
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| "a number and a unit, e.g. `10s`".to_owned())?;
    let scale = match unit {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("unknown unit `{unit}`; ms, s, m and h are known")),
    };
    Duration::try_from_secs_f64(number * scale)
        .ok()
        .filter(|d| *d >= Duration::from_millis(10))
        .ok_or_else(|| "at least 10ms".to_owned())
}

/// How often the trace ring is emptied.
const DRAIN_EVERY: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &Args, verbose: u8) -> Result<(), Failure> {
    let terminal = std::io::stdout().is_terminal();
    let mut format = args.format.unwrap_or(if terminal { Format::Viewer } else { Format::Text });
    failure::log_to_stderr(verbose);
    if let Some(why) = viewer::refused().filter(|_| format == Format::Viewer) {
        log::warn!("{why}: text instead of the viewer");
        format = Format::Text;
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let ended = runtime.block_on(observe(args, format, verbose));
    // A thread that waits for something, such as keys, must not keep the process.
    runtime.shutdown_background();
    ended
}

async fn observe(args: &Args, format: Format, verbose: u8) -> Result<(), Failure> {
    let options = ObserveOptions {
        probes: ProbeOptions {
            queries: args.queries,
            ring_bytes: args.ring,
            log: verbose > 1,
            ..ProbeOptions::default()
        },
        trace: args.events,
        statistics: true,
        cells: format == Format::Viewer,
    };
    let metrics = match args.metrics {
        Some(address) => Some(MetricsServer::bind(address).await?),
        None => None,
    };
    let chosen = args.server.clone();
    let attached = tokio::task::spawn_blocking(move || {
        Ok::<_, Failure>(Observer::on(chosen.server()?, options)?)
    });
    let mut observer = attached.await.map_err(|e| Failure::new(e, None))??;
    if args.walk {
        observer.set_walk(true)?;
    }
    if verbose > 1 {
        observer.pass_log_on()?;
    }
    let first = observer.snapshot()?;
    let (sender, snapshots) = watch::channel(first);
    let (commands, receiver) = mpsc::unbounded_channel();
    let (stop, stopped) = channel::<()>();
    let collector = Collector { observer, sender, receiver, refresh: args.refresh };
    let collecting = thread::spawn(move || collector.run(&stopped));
    let mut endings = Endings::watch()?;
    let (shown, signalled) = tokio::select! {
        shown = show(args, format, metrics, snapshots, commands) => (shown, false),
        _ = endings.next() => (Ok(()), true),
    };
    let ending = end(stop, collecting, format, signalled);
    tokio::pin!(ending);
    let hurry = || outlet::end_within(SIGNALLED, 0, viewer::give_back);
    if signalled {
        hurry();
    }
    let collected = tokio::select! {
        collected = &mut ending => collected,
        _ = endings.next(), if !signalled => {
            hurry();
            return Ok(());
        }
    };
    shown?;
    Ok(collected?)
}

/// Takes the probes out, then waits for a reader that still has records to come, unless a signal has.
async fn end(
    stop: Sender<()>,
    collecting: JoinHandle<Result<(), ObserveError>>,
    format: Format,
    signalled: bool,
) -> Result<(), ObserveError> {
    drop(stop);
    let joined = tokio::task::spawn_blocking(move || collecting.join()).await;
    if !signalled && matches!(format, Format::Text | Format::Jsonl) {
        outlet::stdout().drained().await;
    }
    joined.ok().and_then(Result::ok).unwrap_or(Ok(()))
}

/// How long the way out may take once a signal has come.
const SIGNALLED: Duration = Duration::from_millis(1500);

/// Shows snapshots until the user, the time or the server ends it.
async fn show(
    args: &Args,
    format: Format,
    metrics: Option<MetricsServer>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    commands: mpsc::UnboundedSender<Command>,
) -> Result<(), Failure> {
    let (for_metrics, mut for_end) = (snapshots.clone(), snapshots.clone());
    let front = async {
        match format {
            Format::Viewer => {
                let options = ViewerOptions {
                    link_rate: args.link_rate,
                    refresh: args.refresh,
                    tracing: args.events,
                    walking: args.walk,
                    ..ViewerOptions::default()
                };
                viewer::run(snapshots, options, commands).await.map_err(Failure::from)
            }
            Format::Text | Format::Jsonl => {
                let format = if format == Format::Text {
                    stream::Format::Text
                } else {
                    stream::Format::Jsonl
                };
                stream::run(snapshots, format, outlet::stdout().sink()).await.map_err(Failure::from)
            }
            Format::None => {
                while for_end.changed().await.is_ok() {}
                Ok(())
            }
        }
    };
    let serve = async {
        match metrics {
            Some(server) => match server.run(for_metrics).await {},
            None => std::future::pending().await,
        }
    };
    let time = async {
        match args.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        shown = front => shown,
        () = serve => Ok(()),
        () = time => Ok(()),
    }
}

/// The thread that owns the observer.
struct Collector {
    observer: Observer,
    sender: watch::Sender<Arc<Snapshot>>,
    receiver: mpsc::UnboundedReceiver<Command>,
    refresh: Duration,
}

impl Collector {
    /// Takes snapshots until it is stopped or the server ends. Dropping the observer detaches.
    fn run(mut self, stopped: &std::sync::mpsc::Receiver<()>) -> Result<(), ObserveError> {
        let mut next = Instant::now() + self.refresh;
        loop {
            let wait = next.saturating_duration_since(Instant::now()).min(DRAIN_EVERY);
            match stopped.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.obey()?;
            self.observer.drain_trace();
            if Instant::now() >= next {
                let mut snapshot = self.observer.snapshot()?;
                if let Some(notice) = agent::migration::notice() {
                    Arc::make_mut(&mut snapshot).notices.push(notice.into());
                }
                if self.sender.send(snapshot).is_err() {
                    return Ok(());
                }
                next = Instant::now() + self.refresh;
            }
        }
    }

    /// Carries out what the user switched.
    fn obey(&mut self) -> Result<(), ObserveError> {
        while let Ok(command) = self.receiver.try_recv() {
            match command {
                Command::Trace(on) => self.observer.set_trace(on)?,
                Command::Walk(on) => {
                    if let Err(error) = self.observer.set_walk(on) {
                        log::warn!("no frames in the trace: {error}");
                    }
                }
                Command::Refresh(time) => self.refresh = time,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "s", "1x", "-1s", "0s", "1e99h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
