//! The guest's end of the port: whole lines, from any thread.

use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use lab::protocol::GuestReply;

/// Writes lines.
#[derive(Clone)]
pub(crate) struct SharedPort(Arc<Mutex<File>>);

impl SharedPort {
    pub(crate) fn new(file: File) -> Self {
        Self(Arc::new(Mutex::new(file)))
    }

    /// Says it; blocks while nobody has the other end open (`drivers/char/virtio_console.c`, `port_fops_write`).
    pub(crate) fn send(&self, reply: &GuestReply) {
        let Ok(mut line) = serde_json::to_vec(reply) else { return };
        line.push(b'\n');
        // One write: the driver passes what it is given as one buffer of up to 32 KiB.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line);
    }

    pub(crate) fn answer(&self, id: u64, done: Result<String>) {
        self.send(&match done {
            Ok(output) => GuestReply::Done { id, output },
            Err(error) => GuestReply::Failed { id, reason: format!("{error:#}") },
        });
    }
}
