//! Stands by while a driver lives: should it die, or end without having put QEMU's limits back, QEMU has
//! the user's limits again, and a migration that still goes on is a stock one.
//!
//! Until the switchover is released, QEMU's `downtime-limit` and `max-bandwidth` are those of the throttle. The
//! library in QEMU re-dirties what was skipped when its driver is gone, but it cannot set limits. Its memory keeps what they are to be
//! again ([`crate::shim::SavedParameters`]), with the id of the driver.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, sleep};

use crate::qmp::{Qmp, QmpError};
use crate::shim::Shim;
use crate::source::recovery;

/// The message of a driver that needs no watchdog any more.
pub const DONE: u8 = b'.';

/// How long QEMU's monitor may take to let go of the driver that died, and how often it is tried.
const TAKE_OVER: Duration = Duration::from_secs(30);
const QUERY_INTERVAL: Duration = Duration::from_millis(100);

/// Who waits for the end of one driver.
#[derive(Debug)]
pub struct Watchdog {
    driver: u32,
}

impl Watchdog {
    /// Stands by for the process `driver`. Connects once, to see that QEMU is there.
    ///
    /// # Errors
    /// When the monitor fails.
    pub async fn new(qmp: &Path, driver: u32) -> Result<Self, QmpError> {
        Qmp::connect(qmp).await?;
        Ok(Self { driver })
    }

    /// Waits for the end of the driver, which sends [`DONE`] if all is well; otherwise gives QEMU the parameters
    /// that the library keeps for it, and gives `true`; or `false` when there is nothing to put back, or QEMU is gone too, so that no later
    /// one at that place gets them.
    ///
    /// # Errors
    /// When the monitor fails, also after the driver has been gone for 30 seconds.
    pub async fn stand_by(
        &self,
        qmp: &Path,
        mut driver: impl AsyncRead + Unpin,
    ) -> Result<bool, QmpError> {
        let mut received = Vec::new();
        // A pipe that breaks is a driver that is gone.
        let _ = driver.read_to_end(&mut received).await;
        if received.contains(&DONE) {
            return Ok(false);
        }
        let gone = Instant::now();
        loop {
            match self.put_back(qmp).await {
                Err(error) if error.nobody_listens() => return Ok(false),
                Err(_) if gone.elapsed() < TAKE_OVER => sleep(QUERY_INTERVAL).await,
                result => return result,
            }
        }
    }

    async fn put_back(&self, qmp: &Path) -> Result<bool, QmpError> {
        let qmp = Qmp::connect(qmp).await?;
        // Without the library nothing was throttled; and another driver sees to it by itself.
        let Ok(shim) = Shim::find(qmp.peer_pid()?).await else { return Ok(false) };
        if shim.saved().is_none_or(|saved| saved.driver != self.driver) {
            return Ok(false);
        }
        recovery::put_back(&qmp, &shim).await
    }
}
