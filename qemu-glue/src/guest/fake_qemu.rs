//! A QEMU for tests that makes many queries necessary, and answers as no QEMU does.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;
use tokio::time::sleep;

/// Things that it names; about each there is a question.
pub(super) const MANY: usize = 100;

/// Its answers.
pub(super) struct FakeQemu {
    /// How long each answer takes.
    pub(super) late: Duration,
    /// Where block `n` lies in its memory; none beyond the end.
    pub(super) addresses: Vec<usize>,
    /// Length of each block in bytes.
    pub(super) block_bytes: usize,
    /// Lines of `info mtree -f` after those of the blocks.
    pub(super) more_ram: &'static str,
}

impl Default for FakeQemu {
    fn default() -> Self {
        Self { late: Duration::ZERO, addresses: Vec::new(), block_bytes: 1 << 20, more_ram: "" }
    }
}

impl FakeQemu {
    /// Answers the first that comes to the socket `path`.
    pub(super) fn listen(self, path: &Path) {
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
                sleep(self.late).await;
                let answer = json!({ "return": self.answer(&command), "id": command["id"] });
                if write.write_all(format!("{answer}\r\n").as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }

    fn answer(&self, command: &Value) -> Value {
        let lines = |line: &dyn Fn(usize) -> String| (0..MANY).map(line).collect::<String>();
        let line = command["arguments"]["command-line"].as_str().unwrap_or_default();
        let bytes = self.block_bytes;
        match (command["execute"].as_str().unwrap(), line) {
            ("human-monitor-command", "info ramblock") => {
                lines(&|n| format!("m{n} 4 KiB 0x0 {bytes:#x} {bytes:#x}\n")).into()
            }
            ("human-monitor-command", "info mtree -f") => {
                let ram = lines(&|n| {
                    let (first, last) = ((n + 1) * bytes, (n + 2) * bytes - 1);
                    format!("  {first:016x}-{last:016x} (prio 0, ram): m{n}\n")
                });
                format!(" AS \"memory\", root: system\n{ram}{}", self.more_ram).into()
            }
            ("human-monitor-command", monitor_line) => {
                let gpa = monitor_line.strip_prefix("gpa2hva 0x").unwrap();
                let number = usize::from_str_radix(gpa, 16).unwrap() / bytes - 1;
                let address = self.addresses.get(number).copied().unwrap_or(0x7000);
                format!("Host virtual address for 0x{gpa} (m{number}) is {address:#x}").into()
            }
            ("query-block", _) => (0..MANY)
                .map(|n| json!({ "qdev": format!("d{n}"), "inserted": { "drv": "raw", "file": "/none" } }))
                .collect(),
            ("qmp_capabilities", _) => json!({}),
            ("qom-get", _) => "virtio-blk-device".into(),
            _ => json!([]),
        }
    }
}
