//! The laboratory's ends of the guest's port: one at each QEMU that the guest has been in.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::protocol::{GuestReply, GuestRequest, NumberedRequest};
use crate::wait;

/// What the guest said, and when it arrived at this host.
#[derive(Debug, Clone)]
pub struct GuestMessage {
    /// When the line was read.
    pub at: Instant,
    /// What it says.
    pub reply: GuestReply,
}

/// Talks with the guest, wherever it is.
#[derive(Debug)]
pub struct Port {
    messages: Receiver<GuestMessage>,
    sender: Sender<GuestMessage>,
    writer: Option<UnixStream>,
    next_id: u64,
    connections: AtomicU32,
}

impl Port {
    /// Without any QEMU yet.
    #[must_use]
    pub fn new() -> Self {
        let (sender, messages) = channel();
        Self { messages, sender, writer: None, next_id: 0, connections: AtomicU32::new(0) }
    }

    /// Connects to the port of a further QEMU. Messages of the guest are received from all of them; requests go to
    /// the one that [`speak_to`](Self::speak_to) names.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(&self, socket: &Path) -> Result<UnixStream> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("failed to reach the guest at `{}`", socket.display()))?;
        let (reader, sender) = (BufReader::new(stream.try_clone()?), self.sender.clone());
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        thread::spawn(move || {
            for line in reader.split(b'\n').map_while(Result::ok) {
                let at = Instant::now();
                // A line that a migration has cut in two is lost: each half goes to another host.
                let Ok(mut reply) = serde_json::from_slice(&line) else { continue };
                if let GuestReply::Tick(tick) = &mut reply {
                    tick.qemu = number;
                }
                if sender.send(GuestMessage { at, reply }).is_err() {
                    return;
                }
            }
        });
        Ok(stream)
    }

    /// The guest runs behind this connection now.
    pub fn speak_to(&mut self, stream: UnixStream) {
        self.writer = Some(stream);
    }

    /// Asks for something; gives the number under which the answer will come.
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn request(&mut self, request: GuestRequest) -> Result<u64> {
        self.next_id += 1;
        let wanted = NumberedRequest { id: self.next_id, request };
        let mut line = serde_json::to_vec(&wanted)?;
        line.push(b'\n');
        let writer = self.writer.as_mut().context("no guest to speak to")?;
        writer.write_all(&line).context("failed to speak to the guest")?;
        Ok(wanted.id)
    }

    /// All messages since the last call.
    pub fn receive(&self) -> impl Iterator<Item = GuestMessage> + '_ {
        self.messages.try_iter()
    }

    /// Waits until `pick` takes a message; all go to `pick`, in order.
    ///
    /// # Errors
    /// Nothing was taken within `limit`, or the user wants an end.
    pub fn listen<T>(
        &self,
        what: &str,
        limit: Duration,
        mut pick: impl FnMut(GuestMessage) -> Result<Option<T>>,
    ) -> Result<T> {
        let since = Instant::now();
        while since.elapsed() < limit {
            wait::go_on()?;
            let Ok(message) = self.messages.recv_timeout(Duration::from_millis(50)) else {
                continue;
            };
            if let Some(value) = pick(message)? {
                return Ok(value);
            }
        }
        bail!("{what}: not within {limit:?}")
    }
}

impl Default for Port {
    fn default() -> Self {
        Self::new()
    }
}
