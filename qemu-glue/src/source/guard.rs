//! Stands by while a driver lives: should it die, or end without having put QEMU's limits back, QEMU has
//! the user's limits again, and a migration that still goes on is a stock one.
//!
//! While the switchover is held, QEMU's `downtime-limit` and `max-bandwidth` are those of the hold. The
//! library in QEMU gives back what was left behind when its driver is gone, but it cannot set limits.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, sleep};

use super::controller::Parameters;
use super::settings;
use crate::qmp::{Qmp, QmpError};

/// What a driver says when it needs no guard any more.
pub const DONE: u8 = b'.';

/// How long QEMU's monitor may take to let go of the driver that died, and how often it is asked.
const TAKE_OVER: Duration = Duration::from_secs(30);
const ASK: Duration = Duration::from_millis(100);

/// The limits that a migration is to have without its driver.
#[derive(Debug)]
pub struct Guard {
    parameters: Parameters,
}

impl Guard {
    /// Reads what QEMU has now; what the user asks for takes its place. In bytes per second and in
    /// milliseconds.
    ///
    /// # Errors
    /// When the monitor fails.
    pub async fn read(
        qmp: &Path,
        max_bandwidth: Option<u64>,
        downtime_limit_ms: Option<u64>,
    ) -> Result<Self, QmpError> {
        let (found, _) = settings::read_parameters(&Qmp::connect(qmp).await?).await?;
        Ok(Self { parameters: found.with(max_bandwidth, downtime_limit_ms) })
    }

    /// Waits for the end of `driver`, which says [`DONE`] if all is well; otherwise sets the limits, and
    /// gives `true`; or `false` when QEMU is gone too, so that no later one at that place gets them.
    ///
    /// # Errors
    /// When the monitor fails, also after the driver has been gone for 30 seconds.
    pub async fn stand_by(
        &self,
        qmp: &Path,
        mut driver: impl AsyncRead + Unpin,
    ) -> Result<bool, QmpError> {
        let mut said = Vec::new();
        // A pipe that breaks is a driver that is gone.
        let _ = driver.read_to_end(&mut said).await;
        if said.contains(&DONE) {
            return Ok(false);
        }
        let gone = Instant::now();
        loop {
            match self.set(qmp).await {
                Err(error) if error.nobody_listens() => return Ok(false),
                Err(_) if gone.elapsed() < TAKE_OVER => sleep(ASK).await,
                result => return result.map(|()| true),
            }
        }
    }

    async fn set(&self, qmp: &Path) -> Result<(), QmpError> {
        settings::set_parameters(&Qmp::connect(qmp).await?, &self.parameters).await
    }
}
