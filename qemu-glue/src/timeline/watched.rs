//! Probes for the time of one migration, where they can be had.

use tokio::task::spawn_blocking;

use super::Recorder;
use crate::report::Side;

/// The probes on one QEMU, or why there are none; a migration needs none.
#[derive(Default)]
pub(crate) struct Watched {
    recorder: Option<Recorder>,
    remark: Option<String>,
}

impl Watched {
    /// Sets the probes.
    pub(crate) async fn begin(pid: u32) -> Self {
        let attached = spawn_blocking(move || Recorder::attach(pid)).await;
        match attached.map_err(|error| error.to_string()) {
            Ok(Ok(recorder)) => Self { recorder: Some(recorder), remark: None },
            Ok(Err(error)) => Self::none(&crate::error_chain(&error)),
            Err(error) => Self::none(&error),
        }
    }

    fn none(why: &str) -> Self {
        let remark = format!("QEMU's functions are not probed: {why}");
        Self { recorder: None, remark: Some(remark) }
    }

    /// Takes the probes out. Gives what they saw, in seconds since `zero_ns` of CLOCK_MONOTONIC, or why
    /// there is nothing.
    pub(crate) async fn end(self, zero_ns: u64) -> (Option<Side>, Option<String>) {
        let Some(recorder) = self.recorder else { return (None, self.remark) };
        let finished = spawn_blocking(move || recorder.finish()).await;
        match finished.map_err(|error| error.to_string()) {
            Ok(Ok(calls)) => (Some(calls.side(zero_ns)), None),
            Ok(Err(error)) => (None, Some(crate::error_chain(&error))),
            Err(error) => (None, Some(error)),
        }
    }
}
