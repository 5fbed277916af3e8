//! A client of NBD servers: fixed newstyle, several connections, many reads in flight.
//!
//! The protocol is that of NetworkBlockDevice/nbd, `doc/proto.md`. Only what reading needs is spoken:
//! `NBD_OPT_GO` with block sizes, `NBD_CMD_READ`, simple replies.

mod connection;
mod negotiate;
mod stream;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use self::connection::Connection;
use self::negotiate::Facts;
use super::address::Export;
use super::buffer::Buffer;
use super::error::StorageError;

/// Connections to a server that allows several: enough to keep several of its threads and, on a real
/// network, several queues busy.
const CONNECTIONS: usize = 4;
/// What a server has to accept the first connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// What it has to accept further ones; one that limits its clients lets them wait for ever.
const FURTHER_PATIENCE: Duration = Duration::from_secs(1);

/// An export, open for reading.
#[derive(Debug)]
pub(super) struct Nbd {
    facts: Facts,
    connections: Vec<Connection>,
    turn: AtomicUsize,
}

impl Nbd {
    pub(super) async fn open(export: &Export) -> Result<Self, StorageError> {
        let late = |_| StorageError::Connect {
            server: export.server.to_string(),
            source: io::ErrorKind::TimedOut.into(),
        };
        let first = timeout(PATIENCE, Connection::open(export)).await.map_err(late)?;
        let (first, facts) = first?;
        let mut connections = vec![first];
        if facts.several_connections {
            let further =
                (1..CONNECTIONS).map(|_| timeout(FURTHER_PATIENCE, Connection::open(export)));
            for further in futures::future::join_all(further).await {
                // One that shows another export is not used: reads would mix two disks.
                if let Ok(Ok((connection, its))) = further
                    && its == facts
                {
                    connections.push(connection);
                }
            }
        }
        Ok(Self { facts, connections, turn: AtomicUsize::new(0) })
    }

    pub(super) const fn length(&self) -> u64 {
        self.facts.length
    }

    pub(super) fn manner(&self) -> String {
        match self.connections.len() {
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
        if length > self.facts.longest_read {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "longer than the server reads",
            ));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.connections.len();
        let mut order = (0..count).map(|ahead| &self.connections[(turn + ahead) % count]);
        let connection = order.find(|connection| connection.lives());
        let lost = || io::Error::new(io::ErrorKind::NotConnected, "all connections are lost");
        connection.ok_or_else(lost)?.read(offset, length, buffer).await
    }
}

#[cfg(test)]
mod tests;
