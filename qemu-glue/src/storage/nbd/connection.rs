//! One connection in transmission: requests go out as they come, replies come in any order.
//!
//! ```text
//! request  4 magic, 2 flags, 2 command, 8 cookie, 8 offset, 4 length
//! reply    4 magic, 4 error, 8 cookie, data when there is no error
//! ```

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::negotiate::{ExportInfo, negotiate};
use super::stream::Stream;
use crate::open_files::OpenFiles;
use crate::storage::address::Export;
use crate::storage::buffer::Buffer;
use crate::storage::error::StorageError;

const REQUEST_MAGIC: u32 = 0x2560_9513;
const REQUEST_BYTES: usize = 28;
const REPLY_MAGIC: u32 = 0x6744_6698;
const REPLY_BYTES: usize = 16;
const COMMAND_READ: u16 = 0;

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// Not bounded by itself: each request has a buffer of a bounded pool.
    requests: mpsc::UnboundedSender<[u8; REQUEST_BYTES]>,
    pending: Arc<Mutex<Pending>>,
    tasks: [AbortHandle; 2],
}

/// What waits for a reply.
#[derive(Debug, Default)]
struct Pending {
    next: u64,
    reads: HashMap<u64, PendingRead>,
    /// No reply will come any more.
    lost: bool,
}

#[derive(Debug)]
struct PendingRead {
    buffer: Buffer,
    length: usize,
    answer: oneshot::Sender<io::Result<Buffer>>,
}

impl Connection {
    pub(super) async fn open(
        export: &Export,
        held: Option<&OpenFiles>,
    ) -> Result<(Self, ExportInfo), StorageError> {
        let lost = |source| StorageError::Connect { server: export.server.to_string(), source };
        let mut stream = Stream::connect(&export.server, held).await.map_err(lost)?;
        let facts = negotiate(&mut stream, export).await?;
        let (read, write) = tokio::io::split(stream);
        let pending = Arc::default();
        let (requests, queue) = mpsc::unbounded_channel();
        let receiving = tokio::spawn(receive(read, Arc::clone(&pending)));
        let sending = tokio::spawn(send(write, queue, Arc::clone(&pending)));
        let tasks = [receiving.abort_handle(), sending.abort_handle()];
        Ok((Self { requests, pending, tasks }, facts))
    }

    pub(super) fn lives(&self) -> bool {
        !lock(&self.pending).lost
    }

    /// Reads exactly `length` bytes. Dropped, the reply is still awaited, with the buffer.
    pub(super) async fn read(
        &self,
        offset: u64,
        length: usize,
        buffer: Buffer,
    ) -> io::Result<Buffer> {
        let bytes = u32::try_from(length).map_err(io::Error::other)?;
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        let (answer, answered) = oneshot::channel();
        let cookie = {
            let mut pending = lock(&self.pending);
            if pending.lost {
                return Err(gone());
            }
            let cookie = pending.next;
            pending.next += 1;
            pending.reads.insert(cookie, PendingRead { buffer, length, answer });
            cookie
        };
        let mut request = [0; REQUEST_BYTES];
        request[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
        request[6..8].copy_from_slice(&COMMAND_READ.to_be_bytes());
        request[8..16].copy_from_slice(&cookie.to_be_bytes());
        request[16..24].copy_from_slice(&offset.to_be_bytes());
        request[24..].copy_from_slice(&bytes.to_be_bytes());
        self.requests.send(request).map_err(|_| gone())?;
        answered.await.map_err(|_| io::Error::from(io::ErrorKind::ConnectionAborted))?
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

fn lock(pending: &Mutex<Pending>) -> MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fails what waits; the drop of the answers wakes those who wait.
fn lose(pending: &Mutex<Pending>, error: &io::Error) {
    let mut pending = lock(pending);
    if !pending.lost {
        log::warn!("a connection to an NBD server is lost: {error}");
    }
    pending.lost = true;
    pending.reads.clear();
}

/// Sends requests, each whole, until the connection ends.
async fn send(
    mut stream: WriteHalf<Stream>,
    mut requests: mpsc::UnboundedReceiver<[u8; REQUEST_BYTES]>,
    pending: Arc<Mutex<Pending>>,
) {
    while let Some(request) = requests.recv().await {
        if let Err(error) = stream.write_all(&request).await {
            return lose(&pending, &error);
        }
    }
}

/// Receives replies until the connection ends.
async fn receive(mut stream: ReadHalf<Stream>, pending: Arc<Mutex<Pending>>) {
    loop {
        if let Err(error) = reply(&mut stream, &pending).await {
            return lose(&pending, &error);
        }
    }
}

/// Receives one reply.
async fn reply(stream: &mut ReadHalf<Stream>, pending: &Mutex<Pending>) -> io::Result<()> {
    let strange = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut head = [0; REPLY_BYTES];
    stream.read_exact(&mut head).await?;
    let [m0, m1, m2, m3, e0, e1, e2, e3, cookie @ ..] = head;
    if u32::from_be_bytes([m0, m1, m2, m3]) != REPLY_MAGIC {
        return Err(strange("a reply with another magic"));
    }
    let read = lock(pending).reads.remove(&u64::from_be_bytes(cookie));
    let PendingRead { mut buffer, length, answer } =
        read.ok_or_else(|| strange("a reply to no request"))?;
    let result = match i32::try_from(u32::from_be_bytes([e0, e1, e2, e3])) {
        Ok(0) => {
            stream.read_exact(&mut buffer.whole()[..length]).await?;
            buffer.set_filled(length);
            Ok(buffer)
        }
        // NBD's error numbers are Linux's.
        Ok(error) => Err(io::Error::from_raw_os_error(error)),
        Err(_) => Err(io::Error::other("an error without a number")),
    };
    // The requester may have given up.
    let _ = answer.send(result);
    Ok(())
}
