//! What storage fails with.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A storage that cannot be opened or read.
#[derive(Debug, Error)]
pub enum StorageError {
    /// A file or block device does not open.
    #[error("failed to open `{}`", foreign::path(.path))]
    Open {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An NBD server cannot be reached.
    #[error("failed to reach the NBD server {server}")]
    Connect {
        /// `host:port` or the path of a socket.
        server: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An NBD server does not answer as one.
    #[error("{server} does not speak NBD's fixed newstyle handshake: {what}")]
    Protocol {
        /// `host:port` or the path of a socket.
        server: String,
        /// What it sent instead.
        what: String,
    },
    /// An NBD server does not give the export.
    #[error("the NBD server {server} refuses export `{export}`: {reason}")]
    Export {
        /// `host:port` or the path of a socket.
        server: String,
        /// Name of the export.
        export: String,
        /// Its words, or the name of its error.
        reason: String,
    },
    /// A read that no storage could serve.
    #[error("a read of {length} bytes at {offset:#x} does not fit a storage of {storage} bytes")]
    Request {
        /// Offset in bytes.
        offset: u64,
        /// Length in bytes.
        length: usize,
        /// Length of the storage in bytes.
        storage: u64,
    },
    /// A read failed.
    #[error("failed to read {length} bytes at {offset:#x}")]
    Read {
        /// Offset in bytes.
        offset: u64,
        /// Length in bytes.
        length: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl StorageError {
    /// What the operator can do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Open { .. } => "give the disk's path on this host with `--disk NAME=file:PATH`",
            Self::Connect { .. } | Self::Protocol { .. } => {
                "give the disk's address with `--disk NAME=nbd://HOST:PORT/EXPORT`"
            }
            Self::Export { .. } => {
                "let the server export it to several clients (`qemu-nbd --shared=0 --export-name`)"
            }
            Self::Request { .. } => {
                "the guest's disk is longer than this one: is it the same disk?"
            }
            Self::Read { .. } => return None,
        })
    }
}
