//! `poolferry agent`: answers the host that migrates this VM.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use outlet::Endings;
use tokio::sync::watch;
use userspace::agent::{Agent, AgentOptions, Choice, PortName, Stop};
use userspace::model::Snapshot;
use userspace::observer::ObserveOptions;
use userspace::openmetrics::MetricsServer;
use userspace::probes::ProbeOptions;

use crate::failure::{self, Failure};
use crate::server_args::ServerArgs;
use crate::trace::{duration, socket_address};

/// Options of `poolferry agent`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// Port to the host: a virtio-serial port, or `unix:PATH` for a socket.
    #[arg(long, default_value = "/dev/virtio-ports/org.poolferry.0")]
    port: PortName,
    /// Also probe commands and commits, and report their rate and latency to the host.
    #[arg(long)]
    queries: bool,
    /// Time between snapshots of the pool while a host listens, e.g. `500ms`.
    #[arg(long, default_value = "1s", value_parser = duration)]
    refresh: Duration,
    /// Serve OpenMetrics on this address, e.g. `127.0.0.1:9464`.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = socket_address)]
    metrics: Option<SocketAddr>,
}

pub(crate) fn run(args: &Args, verbose: u8) -> Result<(), Failure> {
    failure::log_to_stderr(verbose);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(answer(args));
    runtime.shutdown_background();
    ended
}

/// How long the way out may take once a signal has come.
const SIGNALLED: Duration = Duration::from_secs(2);

async fn answer(args: &Args) -> Result<(), Failure> {
    let options = AgentOptions {
        choice: Choice { rule: args.server.rule(), symbols: args.server.symbols.options() },
        observe: ObserveOptions {
            probes: ProbeOptions { queries: args.queries, ..ProbeOptions::default() },
            // The host needs what happens, not what it costs.
            statistics: args.metrics.is_some(),
            ..ObserveOptions::default()
        },
        refresh: args.refresh,
        serves_metrics: args.metrics.is_some(),
    };
    let metrics = match args.metrics {
        Some(address) => Some(MetricsServer::bind(address).await?),
        None => None,
    };
    let (newest, snapshots) = watch::channel(Vec::new());
    let show = move |snapshots: Vec<Arc<Snapshot>>| drop(newest.send(snapshots));
    let agent = Agent::new(args.port.clone(), options, show)?;
    let stop = Stop::new()?;
    let stopped = stop.clone();
    let answering = thread::spawn(move || agent.run(&stopped));
    let mut endings = Endings::watch()?;
    tokio::select! {
        () = serve(metrics, snapshots) => {}
        _ = endings.next() => outlet::end_within(SIGNALLED, 0, || {}),
    }
    stop.set();
    answering.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    Ok(())
}

/// Serves metrics, with or without snapshots, until the agent has ended; without an address, only waits
/// for that.
async fn serve(metrics: Option<MetricsServer>, newest: watch::Receiver<Vec<Arc<Snapshot>>>) {
    let Some(server) = metrics else { return until_gone(newest).await };
    tokio::select! {
        never = server.run(newest.clone()) => match never {},
        () = until_gone(newest) => {}
    }
}

/// Waits until the agent has ended.
async fn until_gone(mut newest: watch::Receiver<Vec<Arc<Snapshot>>>) {
    while newest.changed().await.is_ok() {}
}
