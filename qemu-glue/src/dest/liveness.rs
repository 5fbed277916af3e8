//! Whether a source still does something, whatever it says.
//!
//! A source that says much and does nothing would be served for ever, and no other would be. Work is pages that are settled
//! here. Where there is none for a while, QEMU is asked whether a migration comes in: a source may well have nothing to say
//! while its guest writes faster than it can send, or when nothing is restored.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::begun::{self, Coming};
use super::error::ReceiveError;
use crate::qmp::Qmp;

/// How often in a row QEMU's answer may be missing, for instance since somebody else uses its monitor.
const UNKNOWN: u32 = 10;

/// The clock of one source.
pub(super) struct Liveness {
    qmp: PathBuf,
    silence: Duration,
    since: Instant,
    work: u64,
    unknown: u32,
    /// QEMU has told once that all has come in; the source's last word is due.
    is_over: bool,
}

impl Liveness {
    /// A clock that begins now, beside the QEMU behind the monitor `qmp`.
    pub(super) fn new(qmp: &Path, silence: Duration) -> Self {
        let since = Instant::now();
        Self { qmp: qmp.to_owned(), silence, since, work: 0, unknown: 0, is_over: false }
    }

    /// So much work was done so far. An error ends the service.
    pub(super) async fn look(&mut self, work: u64) -> Result<(), ReceiveError> {
        if work > self.work {
            (self.work, self.since) = (work, Instant::now());
            return Ok(());
        }
        if self.since.elapsed() < self.silence {
            return Ok(());
        }
        let goes_on = match self.coming().await {
            Some(Coming::Active) => true,
            Some(Coming::Completed) => !std::mem::replace(&mut self.is_over, true),
            Some(Coming::No) => false,
            None => {
                self.unknown += 1;
                self.unknown <= UNKNOWN
            }
        };
        if goes_on {
            self.since = Instant::now();
            return Ok(());
        }
        Err(ReceiveError::Silent { expected: "anything of use", limit: self.silence })
    }

    /// The monitor is let go at once: QEMU serves one client.
    async fn coming(&self) -> Option<Coming> {
        let qmp = Qmp::connect(&self.qmp).await.inspect_err(|error| log::debug!("{error}")).ok()?;
        begun::coming(&qmp).await.inspect_err(|error| log::debug!("{error}")).ok()
    }
}
