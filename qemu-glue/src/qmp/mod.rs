//! QEMU's machine protocol over a unix socket.
//!
//! One task reads: it hands each answer to the caller that waits for its id, and each event to all who
//! listen. Another writes, so that a caller who is cancelled leaves neither half a command nor a waiter behind. QEMU serves one client per socket, so a greeting that does not come means that somebody
//! else is connected. QEMU's answers are bounded in length, and their shape is checked.
//!
//! Protocol: `docs/interop/qmp-spec.rst` of QEMU 7.2 to 11.1.

mod error;
mod event;
mod line;
mod migration_address;
mod reader;
mod version;
mod writer;

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use error::QmpError;
pub use event::Event;
use line::QmpLines;
pub use migration_address::{MigrationAddress, MigrationAddressError};
use reader::Waiters;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::timeout;
pub use version::QemuVersion;
use writer::CommandWriter;

/// How long a greeting may take: a socket that is free answers at once.
const GREETING: Duration = Duration::from_secs(5);
/// How long a command may take. QEMU's main loop answers; a bitmap sync of a large VM can hold it up
/// for seconds.
const COMMAND: Duration = Duration::from_secs(30);
/// Events kept for a listener that lags; a migration sends a few dozen.
const EVENTS: usize = 1024;

/// A connection to one QEMU.
pub struct Qmp {
    path: PathBuf,
    peer_pid: Option<u32>,
    version: QemuVersion,
    writer: CommandWriter,
    waiters: Arc<Waiters>,
    events: broadcast::Sender<Event>,
    next_id: AtomicU64,
    tasks: [JoinHandle<()>; 2],
}

impl Qmp {
    /// Connects and negotiates. Errors when nothing listens there, no greeting comes within 5 s, or
    /// what answers is no QEMU.
    ///
    /// # Errors
    /// [`QmpError`] with the socket's path.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, QmpError> {
        let path = path.as_ref().to_owned();
        if path.as_os_str().as_bytes().len() > 107 {
            return Err(QmpError::PathTooLong { path });
        }
        let connected = UnixStream::connect(&path).await;
        let stream = connected.map_err(|error| QmpError::Connect { path: path.clone(), error })?;
        // SO_PEERCRED names the process that called listen(): QEMU, or a manager that passed the socket on.
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
        let peer_pid = pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0);
        let (read, write) = stream.into_split();
        let mut lines = QmpLines::new(read);
        let greeting = timeout(GREETING, lines.next())
            .await
            .map_err(|_| QmpError::Busy { path: path.clone() })??
            .ok_or(QmpError::Closed)?
            .0;
        let version =
            QemuVersion::of_greeting(&greeting).ok_or(QmpError::NotQmp { path: path.clone() })?;

        let waiters = Arc::new(Waiters::default());
        let (events, _) = broadcast::channel(EVENTS);
        let reader = tokio::spawn(reader::read(lines, Arc::clone(&waiters), events.clone()));
        let (writer, writes) = CommandWriter::new(write);
        let tasks = [reader, tokio::spawn(writes)];
        let next_id = AtomicU64::new(1);
        let qmp = Self { path, peer_pid, version, writer, waiters, events, next_id, tasks };
        qmp.execute("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// The socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// QEMU's version.
    #[must_use]
    pub const fn version(&self) -> QemuVersion {
        self.version
    }

    /// Process that listens on the socket: QEMU itself, unless a manager made the socket for it.
    ///
    /// # Errors
    /// When the kernel does not name it, e.g. because it lives in another PID namespace.
    pub fn peer_pid(&self) -> Result<u32, QmpError> {
        self.peer_pid.ok_or_else(|| QmpError::NoPeer { path: self.path.clone() })
    }

    /// Events from now on. A listener that lags by more than 1024 events loses the oldest.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Executes a command and waits up to 30 s for its answer (`return`).
    ///
    /// # Errors
    /// [`QmpError::Refused`] with QEMU's own words, or what broke the connection.
    pub async fn execute(&self, name: &str, arguments: Value) -> Result<Value, QmpError> {
        self.execute_within(name, arguments, COMMAND).await
    }

    /// [`Self::execute`] with another limit.
    ///
    /// # Errors
    /// As for [`Self::execute`].
    pub async fn execute_within(
        &self,
        name: &str,
        arguments: Value,
        limit: Duration,
    ) -> Result<Value, QmpError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut waiter = self.waiters.expect(id)?;
        let mut command = json!({ "execute": name, "id": id });
        if arguments.as_object().is_some_and(|arguments| !arguments.is_empty()) {
            command["arguments"] = arguments;
        }
        let mut text = command.to_string();
        text.push('\n');
        let talk = async {
            self.writer.write(text).await?;
            waiter.answer().await
        };
        match timeout(limit, talk).await {
            Err(_) => Err(QmpError::TimedOut { command: name.to_owned(), limit }),
            Ok(Err(error)) => Err(error),
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(reason))) => Err(QmpError::Refused { command: name.to_owned(), reason }),
        }
    }

    /// Sends `quit`, which also ends this connection.
    ///
    /// # Errors
    /// As for [`Self::execute`]; not when QEMU is gone before it has answered.
    pub async fn quit(&self) -> Result<(), QmpError> {
        self.waiters.will_quit();
        match self.execute("quit", json!({})).await {
            Ok(_) | Err(QmpError::Closed | QmpError::Io(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Executes a command of the human monitor and gives the text that it prints.
    ///
    /// # Errors
    /// As for [`Self::execute`], and when the answer is no text.
    pub async fn hmp(&self, command: &str) -> Result<String, QmpError> {
        let arguments = json!({ "command-line": command });
        match self.execute("human-monitor-command", arguments).await? {
            Value::String(text) => Ok(text),
            _ => Err(QmpError::Unexpected { command: command.to_owned(), what: "text" }),
        }
    }

    /// Executes a query and reads its answer as `T`.
    ///
    /// # Errors
    /// As for [`Self::execute`], and when the answer has another shape.
    pub async fn query<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, QmpError> {
        let value = self.execute(name, json!({})).await?;
        serde_json::from_value(value)
            .map_err(|error| QmpError::Shape { command: name.to_owned(), error })
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

#[cfg(test)]
mod tests;
