//! The probes in the guest, asked from the laboratory where no driver asks them.

use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use qemu_glue::agent::{Agent, Reading, Telemetry};
use tokio::sync::oneshot;

/// The agent notices within this time that a host is there.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// Asks until it is ended. One host at a time has the agent's port.
#[derive(Debug)]
pub(crate) struct Gauge {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Vec<Reading>>,
}

impl Gauge {
    /// Begins to ask behind `port`.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn begin(port: PathBuf) -> Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let measure = move || {
            runtime.block_on(async {
                // Without an agent there is nothing to measure; a caller that needs it fails elsewhere.
                let Ok(agent) = Agent::connect_within(&port, CONNECT_LIMIT).await else {
                    return Vec::new();
                };
                let telemetry = Telemetry::begin(agent);
                let _ = stopped.await;
                telemetry.readings()
            })
        };
        let thread = thread::Builder::new().name("gauge".to_owned()).spawn(measure);
        Ok(Self { stop, thread: thread.context("no thread to ask the guest")? })
    }

    /// Ends it; returns the readings.
    pub(crate) fn end(self) -> Vec<Reading> {
        let _ = self.stop.send(());
        self.thread.join().unwrap_or_default()
    }
}
