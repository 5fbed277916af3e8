//! Waiting for a server to be at rest.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use userspace::scan::scan;
use userspace::server::Server;

/// Nothing may change for so long. InnoDB's master thread wakes up once a second.
const CALM: Duration = Duration::from_millis(2500);
const POLL: Duration = Duration::from_millis(250);
/// A pool of 8 GiB is written out in less.
const LIMIT: Duration = Duration::from_secs(240);

/// Waits until the descriptors of the pool stay as they are.
pub(crate) fn wait_until_quiet(server: &Server) -> Result<()> {
    let start = Instant::now();
    let (mut last, mut since) = (fingerprint(server)?, Instant::now());
    while since.elapsed() < CALM {
        ensure!(start.elapsed() < LIMIT, "the pool is not at rest after {LIMIT:?}");
        thread::sleep(POLL);
        let now = fingerprint(server)?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    Ok(())
}

/// What the descriptors say, in one number.
fn fingerprint(server: &Server) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    scan(server.memory(), &server.layout, &server.pool_map, |block| {
        (block.index, block.space(), block.page(), block.oldest_lsn()).hash(&mut hasher);
        block.is_being_read().hash(&mut hasher);
    })?;
    Ok(hasher.finish())
}
