//! One deadline for all that is asked of QEMU about one thing.
//!
//! A question has its own, and how many there are is QEMU's to say: it names RAM blocks and disks. One that answers each of some
//! thousand questions late would hold its caller for a day.

use std::time::Duration;

use tokio::time::timeout;

use super::GuestError;

/// How long QEMU may take in all. A question is answered within milliseconds; a bitmap sync of a large VM holds all of them up
/// for seconds.
pub(super) const TOLD: Duration = Duration::from_secs(60);

/// The answers to what `asks`, about `what`.
///
/// # Errors
/// As of `asks`, and [`GuestError::Slow`].
pub(super) async fn within<T>(
    limit: Duration,
    what: &'static str,
    asks: impl Future<Output = Result<T, GuestError>>,
) -> Result<T, GuestError> {
    timeout(limit, asks).await.unwrap_or(Err(GuestError::Slow { what, limit }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use serde_json::{Value, json};
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::UnixListener;
    use tokio::time::sleep;

    use super::*;
    use crate::guest::{GuestRam, disks};
    use crate::qmp::Qmp;

    const LATE: Duration = Duration::from_millis(50);
    const LIMIT: Duration = Duration::from_millis(500);
    /// Things that it names; about each there is a question.
    const MANY: usize = 100;

    /// A QEMU that has much to be asked about, and answers late.
    fn talkative(path: &Path) {
        let listener = UnixListener::bind(path).unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (read, mut write) = stream.into_split();
            let version = json!({ "qemu": { "major": 10, "minor": 0, "micro": 2 } });
            let greeting = json!({ "QMP": { "version": version, "capabilities": [] } });
            write.write_all(format!("{greeting}\r\n").as_bytes()).await.unwrap();
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let command: Value = serde_json::from_str(&line).unwrap();
                sleep(LATE).await;
                let answer = json!({ "return": answer(&command), "id": command["id"] });
                if write.write_all(format!("{answer}\r\n").as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }

    fn answer(command: &Value) -> Value {
        let lines = |line: fn(usize) -> String| (0..MANY).map(line).collect::<String>();
        let line = command["arguments"]["command-line"].as_str().unwrap_or_default();
        match (command["execute"].as_str().unwrap(), line) {
            ("human-monitor-command", "info ramblock") => {
                lines(|n| format!("m{n} 4 KiB 0x0 0x100000 0x100000\n")).into()
            }
            ("human-monitor-command", "info mtree -f") => {
                let ram = lines(|n| {
                    let (first, last) = ((n + 1) << 20, ((n + 2) << 20) - 1);
                    format!("  {first:016x}-{last:016x} (prio 0, ram): m{n}\n")
                });
                format!(" AS \"memory\", root: system\n{ram}").into()
            }
            ("human-monitor-command", _) => "Host virtual address is 0x7000".into(),
            ("query-block", _) => (0..MANY)
                .map(|n| json!({ "qdev": format!("d{n}"), "inserted": { "drv": "raw", "file": "/none" } }))
                .collect(),
            ("qmp_capabilities", _) => json!({}),
            ("qom-get", _) => "virtio-blk-device".into(),
            _ => json!([]),
        }
    }

    #[tokio::test]
    async fn a_qemu_that_is_late_each_time_is_waited_for_once() {
        let folder = tempfile::tempdir().unwrap();
        for what in ["RAM", "disks"] {
            let path = folder.path().join(what);
            talkative(&path);
            let qmp = Qmp::connect(&path).await.unwrap();
            let begun = Instant::now();
            let pid = std::process::id();
            let error = match what {
                "RAM" => GuestRam::within(LIMIT, &qmp, pid).await.map(drop).unwrap_err(),
                _ => disks::within(LIMIT, &qmp).await.map(drop).unwrap_err(),
            };
            let took = begun.elapsed();
            assert!(took >= LIMIT && took < LIMIT * 4, "{what}: {took:?}");
            assert!(error.to_string().contains(what), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("again")));
        }
    }
}
