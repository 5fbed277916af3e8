//! QEMU's monitor (QMP). The laboratory speaks it by itself, so that its proofs share no code with what they prove.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::wait;

/// QEMU answers within this time, even on a machine that has much else to do.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Time of one look for further bytes.
const LOOK: Duration = Duration::from_millis(50);

/// A connection to a QEMU.
#[derive(Debug)]
pub struct Monitor {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
    line: Vec<u8>,
    events: VecDeque<Event>,
    next_id: u64,
}

/// What QEMU said by itself.
#[derive(Debug, Clone)]
pub struct Event {
    /// When it was read.
    pub at: Instant,
    /// Its name, such as `MIGRATION`.
    pub name: String,
    /// What belongs to it.
    pub data: Value,
}

impl Monitor {
    /// Connects, and leaves the mode in which only capabilities can be asked for.
    ///
    /// # Errors
    /// Nobody listens, or it is no QEMU.
    pub fn connect(socket: &Path) -> Result<Self> {
        let writer = UnixStream::connect(socket)
            .with_context(|| format!("failed to reach QEMU at `{}`", socket.display()))?;
        writer.set_read_timeout(Some(LOOK))?;
        let reader = BufReader::new(writer.try_clone()?);
        let mut monitor =
            Self { reader, writer, line: Vec::new(), events: VecDeque::new(), next_id: 0 };
        wait::until("QEMU's greeting", ANSWER_LIMIT, || {
            Ok(monitor.read()?.filter(|value| value.get("QMP").is_some()))
        })?;
        monitor.execute("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    /// Runs a command and gives what it returns.
    ///
    /// # Errors
    /// QEMU refuses it (the text has its words), does not answer, or is gone.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        self.next_id += 1;
        let id = self.next_id;
        let line = json!({ "execute": command, "arguments": arguments, "id": id }).to_string();
        writeln!(self.writer, "{line}").with_context(|| format!("failed to ask QEMU {command}"))?;
        let mut answer = wait::until(&format!("QEMU's answer to {command}"), ANSWER_LIMIT, || {
            Ok(self.read()?.filter(|value| value["id"] == json!(id)))
        })?;
        if let Some(error) = answer.get("error") {
            bail!("QEMU refuses {command}: {}", error["desc"].as_str().unwrap_or_default());
        }
        Ok(answer["return"].take())
    }

    /// Runs a command of the human monitor and gives its text.
    ///
    /// # Errors
    /// As for [`execute`](Self::execute).
    pub fn human(&mut self, line: &str) -> Result<String> {
        let text = self.execute("human-monitor-command", json!({ "command-line": line }))?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// What QEMU said by itself since the last call, without waiting.
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn events(&mut self) -> Result<Vec<Event>> {
        // Answers that nobody waits for any more are dropped.
        while self.read()?.is_some() {}
        Ok(self.events.drain(..).collect())
    }

    /// `running`, `paused`, `postmigrate` ... (`RunState` of `qapi/run-state.json`).
    ///
    /// # Errors
    /// As for [`execute`](Self::execute).
    pub fn run_state(&mut self) -> Result<String> {
        let status = self.execute("query-status", json!({}))?;
        Ok(status["status"].as_str().unwrap_or_default().to_owned())
    }

    /// The next line that is no event; `None` if there is none yet.
    fn read(&mut self) -> Result<Option<Value>> {
        loop {
            match self.reader.read_until(b'\n', &mut self.line) {
                Ok(0) => bail!("QEMU is gone"),
                Ok(_) if self.line.ends_with(b"\n") => {}
                Ok(_) => continue,
                // What has come of the line stays in it.
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(error).context("failed to read from QEMU"),
            }
            let value: Value = serde_json::from_slice(&self.line).context("QEMU speaks no JSON")?;
            self.line.clear();
            let Some(name) = value["event"].as_str() else { return Ok(Some(value)) };
            let event =
                Event { at: Instant::now(), name: name.to_owned(), data: value["data"].clone() };
            self.events.push_back(event);
        }
    }
}
