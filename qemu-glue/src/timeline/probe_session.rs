//! Probes for the time of one migration, where they can be had.

use tokio::task::{JoinHandle, spawn_blocking};

use super::{Recorder, TimelineError};
use migration_record::Side;

/// The probes on one QEMU, or why there are none; a migration needs none.
pub(crate) enum ProbeSession {
    /// None are wanted.
    Not,
    /// The kernel takes its time to set them.
    Begun(JoinHandle<Result<Recorder, TimelineError>>),
    /// They are set.
    Set(Box<Recorder>),
    /// There are none, for this reason.
    Failed(String),
}

impl ProbeSession {
    /// Begins to set the probes; nothing waits for it.
    pub(crate) fn begin(pid: u32) -> Self {
        Self::Begun(spawn_blocking(move || Recorder::attach(pid)))
    }

    /// Waits until they are set, or there are none.
    pub(crate) async fn set(self) -> Self {
        let Self::Begun(attached) = self else { return self };
        let why = match attached.await {
            Ok(Ok(recorder)) => return Self::Set(Box::new(recorder)),
            Ok(Err(error)) => crate::error_chain(&error),
            Err(error) => error.to_string(),
        };
        Self::Failed(format!("QEMU's functions are not probed: {why}"))
    }

    /// Takes the probes out. Gives what they saw, in seconds since `zero_ns` of CLOCK_MONOTONIC, or why
    /// there is nothing.
    pub(crate) async fn end(self, zero_ns: u64) -> (Option<Side>, Option<String>) {
        let recorder = match self.set().await {
            Self::Set(recorder) => recorder,
            Self::Failed(why) => return (None, Some(why)),
            Self::Not | Self::Begun(_) => return (None, None),
        };
        let finished = spawn_blocking(move || recorder.finish()).await;
        match finished.map_err(|error| error.to_string()) {
            Ok(Ok(calls)) => (Some(calls.side(zero_ns)), None),
            Ok(Err(error)) => (None, Some(crate::error_chain(&error))),
            Err(error) => (None, Some(error)),
        }
    }
}
