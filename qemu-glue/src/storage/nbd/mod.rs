//! A client of NBD servers: fixed newstyle, several connections, many reads in flight.
//!
//! The protocol is that of NetworkBlockDevice/nbd, `doc/proto.md`. Only what reading needs is spoken:
//! `NBD_OPT_GO` with block sizes, `NBD_CMD_READ`, simple replies.

mod connection;
mod negotiate;
mod stream;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use self::connection::Connection;
use self::negotiate::ExportInfo;
use super::address::Export;
use super::buffer::Buffer;
use super::error::StorageError;
use super::plan::ALIGN;
use crate::open_files::OpenFiles;

/// Connections to a server that allows several: enough to keep several of its threads and, on a real
/// network, several queues busy.
const CONNECTIONS: usize = 4;
/// What a server has to accept the first connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// What it has to accept further ones; one that limits its clients lets them wait for ever.
const FURTHER_PATIENCE: Duration = Duration::from_secs(1);

/// How often a server that is lost is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// An export, open for reading.
#[derive(Debug)]
pub(super) struct Nbd {
    export: Export,
    /// What QEMU has open, where it has named the server.
    held: Option<Arc<OpenFiles>>,
    facts: ExportInfo,
    /// How many there were at first.
    count: usize,
    connections: Mutex<Vec<Arc<Connection>>>,
    turn: AtomicUsize,
    /// When the server was last tried again.
    tried: tokio::sync::Mutex<Option<Instant>>,
}

impl Nbd {
    /// Connects; where QEMU has named the server, only to one that QEMU itself is connected to.
    pub(super) async fn open(
        export: &Export,
        held: Option<&Arc<OpenFiles>>,
    ) -> Result<Self, StorageError> {
        let connect = || Connection::open(export, held.map(AsRef::as_ref));
        let late = |_| StorageError::Connect {
            server: export.server.to_string(),
            source: io::ErrorKind::TimedOut.into(),
        };
        let first = timeout(PATIENCE, connect()).await.map_err(late)?;
        let (first, facts) = first?;
        if u64::from(facts.smallest_read) > ALIGN {
            return Err(StorageError::Export {
                server: export.server.to_string(),
                export: export.name.clone(),
                reason: format!("it wants reads of at least {} bytes", facts.smallest_read),
            });
        }
        let mut connections = vec![Arc::new(first)];
        if facts.several_connections {
            let further = (1..CONNECTIONS).map(|_| timeout(FURTHER_PATIENCE, connect()));
            for further in futures::future::join_all(further).await {
                // One that shows another export is not used: reads would mix two disks.
                if let Ok(Ok((connection, its))) = further
                    && its == facts
                {
                    connections.push(Arc::new(connection));
                }
            }
        }
        Ok(Self {
            export: export.clone(),
            held: held.cloned(),
            facts,
            count: connections.len(),
            connections: Mutex::new(connections),
            turn: AtomicUsize::new(0),
            tried: tokio::sync::Mutex::new(None),
        })
    }

    pub(super) const fn length(&self) -> u64 {
        self.facts.length
    }

    pub(super) const fn longest_read(&self) -> usize {
        self.facts.longest_read
    }

    pub(super) fn manner(&self) -> String {
        match self.count {
            1 => "1 connection".to_owned(),
            count => format!("{count} connections"),
        }
    }

    /// Reads exactly `length` bytes, on the next connection that lives.
    pub(super) async fn read(
        &self,
        offset: u64,
        length: usize,
        buffer: Buffer,
    ) -> io::Result<Buffer> {
        let connection = match self.living() {
            Some(connection) => connection,
            None => self.again().await?,
        };
        connection.read(offset, length, buffer).await
    }

    /// The next connection that lives; those that do not are forgotten.
    fn living(&self) -> Option<Arc<Connection>> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| connection.lives());
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        connections.get(turn.checked_rem(connections.len())?).map(Arc::clone)
    }

    /// Connects to a server that was lost, once for all requesters.
    async fn again(&self) -> io::Result<Arc<Connection>> {
        let mut tried = self.tried.lock().await;
        if let Some(connection) = self.living() {
            return Ok(connection);
        }
        if tried.is_some_and(|tried| tried.elapsed() < AGAIN) {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the server is lost"));
        }
        *tried = Some(Instant::now());
        let connect = Connection::open(&self.export, self.held.as_deref());
        let opened = timeout(FURTHER_PATIENCE, connect).await;
        let (connection, facts) = opened?.map_err(io::Error::other)?;
        if facts != self.facts {
            return Err(io::Error::other("the server has another export now"));
        }
        let connection = Arc::new(connection);
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.push(Arc::clone(&connection));
        Ok(connection)
    }
}

#[cfg(test)]
mod tests;
