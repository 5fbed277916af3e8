//! One file from one debuginfod server.
//!
//! Protocol: `GET /buildid/<hex>/debuginfo` (debuginfod(8)). The answer is foreign: it is limited
//! in time and size while it arrives, and goes to a file that is not taken for a debug file until
//! the caller has checked it.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::link::BuildId;
use super::options::Debuginfod;
use crate::cause::Cause;
use crate::path_text;

/// What must arrive within [`Debuginfod::timeout`], in bytes (debuginfod-client-config(7)).
const FIRST_BYTES: u64 = 100 << 10;

/// Bytes per read.
const CHUNK: usize = 64 << 10;

/// Why a debuginfod server did not deliver a file.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FetchError {
    /// The server does not have this build (404).
    #[error("the server does not know this build")]
    Unknown,
    /// Any other answer than the file.
    #[error("the server answers with HTTP status {0}")]
    Status(u16),
    /// No connection, no answer, or one that breaks off.
    #[error("the transfer failed")]
    Transfer(#[source] Cause),
    /// A wait, or the first 100 KiB, took longer than [`Debuginfod::timeout`].
    #[error("too slow: {received} bytes in {limit:?}")]
    Slow {
        /// Bytes that arrived.
        received: u64,
        /// [`Debuginfod::timeout`].
        limit: Duration,
    },
    /// The transfer took longer than [`Debuginfod::max_time`].
    #[error("not done after {0:?}")]
    Long(Duration),
    /// The file is larger than [`Debuginfod::max_bytes`].
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    /// The file cannot be written down.
    #[error("cannot write below `{folder}`")]
    Write {
        /// The cache folder, or the one for temporary files.
        #[serde(with = "path_text")]
        folder: PathBuf,
        /// The kernel's error.
        source: Cause,
    },
}

impl FetchError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unknown => None,
            Self::Status(_) | Self::Transfer(_) => {
                Some("check DEBUGINFOD_URLS, and that the server can be reached from here")
            }
            Self::Slow { .. } => Some("give it longer with DEBUGINFOD_TIMEOUT (seconds)"),
            Self::Long(_) => Some("give it longer with DEBUGINFOD_MAXTIME (seconds)"),
            Self::TooLarge(_) => Some("allow a larger file with DEBUGINFOD_MAXSIZE (bytes)"),
            Self::Write { .. } => Some("name a writable folder with DEBUGINFOD_CACHE_PATH"),
        }
    }
}

impl Debuginfod {
    /// The address of the debug file of build `id` at the server of that number.
    pub(super) fn url(&self, server: usize, id: &BuildId) -> Option<String> {
        let base = self.urls.get(server)?;
        Some(format!("{}/buildid/{}/debuginfo", base.trim_end_matches('/'), id.hex()))
    }

    /// Where the debug file of build `id` is kept.
    pub(super) fn cached(&self, id: &BuildId) -> Option<PathBuf> {
        Some(self.cache_dir.as_ref()?.join(id.path()))
    }
}

/// Fetches `url` into a temporary file in the cache folder, unchecked.
pub(super) fn fetch(url: &str, config: &Debuginfod) -> Result<NamedTempFile, FetchError> {
    let start = Instant::now();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_resolve(Some(config.timeout))
        .timeout_connect(Some(config.timeout))
        .timeout_recv_response(Some(config.timeout))
        .timeout_per_read(Some(config.timeout))
        .timeout_per_write(Some(config.timeout))
        .timeout_global(Some(config.max_time))
        .http_status_as_error(false)
        .build()
        .into();
    let failed = |error, received| match error {
        ureq::Error::Timeout(ureq::Timeout::Global) => FetchError::Long(config.max_time),
        ureq::Error::Timeout(_) => FetchError::Slow { received, limit: config.timeout },
        other => FetchError::Transfer(other.into()),
    };
    let mut answer = agent.get(url).call().map_err(|error| failed(error, 0))?;
    match answer.status().as_u16() {
        200 => {}
        404 => return Err(FetchError::Unknown),
        other => return Err(FetchError::Status(other)),
    }
    let too_large = FetchError::TooLarge(config.max_bytes);
    if answer.body().content_length().is_some_and(|length| length > config.max_bytes) {
        return Err(too_large);
    }
    let (mut file, folder) = temporary(config)?;
    let mut reader = answer.body_mut().as_reader();
    let mut chunk = vec![0; CHUNK];
    let mut received = 0;
    loop {
        let n = reader.read(&mut chunk).map_err(|error| failed(error.into(), received))?;
        if n == 0 {
            return Ok(file);
        }
        received += n as u64;
        if received > config.max_bytes {
            return Err(too_large);
        }
        if received < FIRST_BYTES && start.elapsed() > config.timeout {
            return Err(FetchError::Slow { received, limit: config.timeout });
        }
        file.write_all(&chunk[..n])
            .map_err(|error| FetchError::Write { folder: folder.clone(), source: error.into() })?;
    }
}

/// Moves a file that was checked to its name in the cache, whole or not at all. No one else may write to the
/// cache: it is looked up before any request to a server.
pub(super) fn keep(
    file: NamedTempFile,
    id: &BuildId,
    cache_dir: &std::path::Path,
) -> io::Result<()> {
    let path = cache_dir.join(id.path());
    safe_file::make_folder(cache_dir)?;
    if let Some(folder) = path.parent() {
        safe_file::make_folder(folder)?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn temporary(config: &Debuginfod) -> Result<(NamedTempFile, PathBuf), FetchError> {
    let folder = config.cache_dir.clone().unwrap_or_else(std::env::temp_dir);
    std::fs::create_dir_all(&folder)
        .and_then(|()| NamedTempFile::with_prefix_in(".fetch-", &folder))
        .map(|file| (file, folder.clone()))
        .map_err(|error| FetchError::Write { folder, source: error.into() })
}
