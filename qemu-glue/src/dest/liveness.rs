//! Whether a source still does something, whatever it says.
//!
//! A source that says much and does nothing would be served for ever, and no other would be. Work is pages that are placed
//! here; while no migration comes in, a source has little to do, and twice the silence limit is all it gets for that. Where there is none for a while, QEMU is asked whether a migration comes in: a source may well have nothing to say
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
    /// When something was last done.
    since: Instant,
    /// When a migration was last known to come in.
    came: Instant,
    work: u64,
    unknown: u32,
    /// QEMU has told once that all has come in; the source's last word is due.
    is_over: bool,
}

impl Liveness {
    /// A clock that begins now, beside the QEMU behind the monitor `qmp`.
    pub(super) fn new(qmp: &Path, silence: Duration) -> Self {
        let now = Instant::now();
        let qmp = qmp.to_owned();
        Self { qmp, silence, since: now, came: now, work: 0, unknown: 0, is_over: false }
    }

    /// So much work was done so far. An error ends the service.
    pub(super) async fn look(&mut self, work: u64) -> Result<(), ReceiveError> {
        if work > self.work {
            (self.work, self.since, self.unknown) = (work, Instant::now(), 0);
        }
        let is_silent = self.since.elapsed() >= self.silence;
        if !is_silent && self.came.elapsed() < self.silence * 2 {
            return Ok(());
        }
        let coming = self.coming().await;
        if coming.is_some() {
            self.unknown = 0;
        }
        let goes_on = match coming {
            Some(Coming::Active) => true,
            Some(Coming::Completed) => !std::mem::replace(&mut self.is_over, true),
            Some(Coming::No) => false,
            // Somebody else at the monitor is no reason to leave a source that works.
            None if !is_silent => true,
            None => {
                self.unknown += 1;
                self.unknown <= UNKNOWN
            }
        };
        if goes_on {
            (self.since, self.came) = (Instant::now(), Instant::now());
            return Ok(());
        }
        Err(match is_silent {
            true => ReceiveError::Silent { expected: "anything of use", limit: self.silence },
            false => ReceiveError::Silent { expected: "a migration", limit: self.silence * 2 },
        })
    }

    /// The monitor is let go at once: QEMU serves one client.
    async fn coming(&self) -> Option<Coming> {
        let qmp = Qmp::connect(&self.qmp).await.inspect_err(|error| log::debug!("{error}")).ok()?;
        begun::coming(&qmp).await.inspect_err(|error| log::debug!("{error}")).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::UnixListener;
    use tokio::time::sleep;

    use super::*;

    const SILENCE: Duration = Duration::from_millis(200);
    const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}, "capabilities": []}}"#;

    /// A monitor that says `status` of the migration to whoever connects.
    fn monitor(path: &Path, status: &'static str) {
        let listener = UnixListener::bind(path).unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (read, mut write) = stream.into_split();
                write.write_all(format!("{GREETING}\r\n").as_bytes()).await.unwrap();
                let mut lines = BufReader::new(read).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let command: Value = serde_json::from_str(&line).unwrap();
                    let answer = json!({ "return": { "status": status }, "id": command["id"] });
                    write.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
                }
            }
        });
    }

    /// How a source is served that has a page placed at each look, for ten silences at most.
    async fn served(status: Option<&'static str>) -> Result<(), ReceiveError> {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("qmp");
        if let Some(status) = status {
            monitor(&path, status);
        }
        let mut liveness = Liveness::new(&path, SILENCE);
        let begun = Instant::now();
        let mut work = 0;
        while begun.elapsed() < SILENCE * 10 {
            work += 1;
            liveness.look(work).await?;
            sleep(SILENCE / 20).await;
        }
        Ok(())
    }

    /// Now and then a source has nothing to do, while somebody else has the monitor; and works again.
    #[tokio::test]
    async fn answers_that_are_missing_count_in_a_row_only() {
        let limit = Duration::from_millis(5);
        let mut liveness = Liveness::new(Path::new("/nowhere"), limit);
        for work in 1..=u64::from(2 * UNKNOWN) {
            liveness.look(work).await.unwrap();
            sleep(limit * 2).await;
            let silent = liveness.look(work).await;
            assert!(
                silent.is_ok(),
                "left after {work} silences, each with work before and after it"
            );
        }
        for _ in 1..UNKNOWN {
            sleep(limit * 2).await;
            liveness.look(0).await.unwrap();
        }
        sleep(limit * 2).await;
        assert!(liveness.look(0).await.is_err());
    }

    #[tokio::test]
    async fn work_without_a_migration_has_an_end() {
        for status in ["none", "setup", "failed"] {
            let error = served(Some(status)).await.unwrap_err().to_string();
            assert!(error.contains("0.4 s went by without a migration"), "{status}: {error}");
        }
        served(Some("active")).await.unwrap();
        // Its monitor is somebody else's: the source is believed as long as it works.
        served(None).await.unwrap();
    }
}
