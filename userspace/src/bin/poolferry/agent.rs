//! `poolferry agent`: answers the host that migrates this VM.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use userspace::agent::{Agent, AgentOptions, PortName, Stop};
use userspace::model::Picture;
use userspace::observer::ObserveOptions;
use userspace::openmetrics::MetricsServer;
use userspace::probes::ProbeOptions;

use crate::failure::{self, Failure};
use crate::server_args::ServerArgs;
use crate::trace::duration;

/// Options of `poolferry agent`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// Port to the host: a virtio-serial port, or `unix:PATH` for a socket in its place.
    #[arg(long, default_value = "/dev/virtio-ports/org.poolferry.0")]
    port: PortName,
    /// Probe commands and commits too, and tell the host their rate and latency.
    #[arg(long)]
    queries: bool,
    /// Time between pictures of the pool while a host listens, e.g. `500ms`.
    #[arg(long, default_value = "1s", value_parser = duration)]
    refresh: Duration,
    /// Serve OpenMetrics on this address, e.g. `127.0.0.1:9464`.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
}

pub(crate) fn run(args: &Args, verbose: u8) -> Result<(), Failure> {
    failure::log_to_stderr(verbose);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(answer(args))
}

async fn answer(args: &Args) -> Result<(), Failure> {
    let options = AgentOptions {
        choice: args.server.choice(),
        observe: ObserveOptions {
            probes: ProbeOptions { queries: args.queries, ..ProbeOptions::default() },
            // The host asks for what happens, not for what it costs.
            statistics: args.metrics.is_some(),
            ..ObserveOptions::default()
        },
        refresh: args.refresh,
        watched: args.metrics.is_some(),
    };
    let metrics = match args.metrics {
        Some(address) => Some(MetricsServer::bind(address).await?),
        None => None,
    };
    let (newest, pictures) = watch::channel(None);
    let show = move |picture: &Arc<Picture>| drop(newest.send(Some(Arc::clone(picture))));
    let agent = Agent::new(args.port.clone(), options, show)?;
    let stop = Stop::new()?;
    let told = stop.clone();
    let answering = thread::spawn(move || agent.run(&told));
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        () = serve(metrics, pictures) => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    stop.set();
    answering.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    Ok(())
}

/// Serves metrics, from the first picture on; without an address, waits.
async fn serve(metrics: Option<MetricsServer>, mut newest: watch::Receiver<Option<Arc<Picture>>>) {
    let Some(server) = metrics else { return until_gone(newest).await };
    let Ok(first) = newest.wait_for(Option::is_some).await.map(|first| first.clone()) else {
        return;
    };
    let Some(first) = first else { return };
    let (sender, pictures) = watch::channel(first);
    let pass_on = async {
        while newest.changed().await.is_ok() {
            if let Some(picture) = newest.borrow_and_update().clone() {
                sender.send_replace(picture);
            }
        }
    };
    tokio::select! {
        never = server.run(pictures) => match never {},
        () = pass_on => {}
    }
}

/// Waits until the agent has ended.
async fn until_gone(mut newest: watch::Receiver<Option<Arc<Picture>>>) {
    while newest.changed().await.is_ok() {}
}
