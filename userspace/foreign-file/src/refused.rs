//! Mounts that were refused a moment ago.
//!
//! Whoever has thousands of files on one makes each look at them a search through tables of mounts that are as long as
//! their owner likes. A number of a mount is used again once it is unmounted, and a descriptor that kept it would keep
//! the mount busy: so a verdict counts for a second, and only where mount, device and the process's namespaces are the
//! same. A mount that may be read is refused for so long at most; none is read for it.

use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, StatxFlags, readlinkat, statx};

/// How long a refusal counts.
const COUNTS: Duration = Duration::from_secs(1);
/// Refusals that are remembered; the oldest goes.
const MOST: usize = 64;

/// What a refusal is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    mount: u64,
    device: (u32, u32),
    /// The user and the mount namespace of the process that sees it.
    namespaces: [Option<Vec<u8>>; 2],
}

impl Key {
    /// Of a file on the mount of this number, as the process sees it whose `/proc/PID` folder is `proc`.
    pub(crate) fn of(file: BorrowedFd<'_>, mount: u64, proc: Option<BorrowedFd<'_>>) -> Self {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let seen = statx(file, "", flags, StatxFlags::empty());
        let device = seen.map_or((0, 0), |seen| (seen.stx_dev_major, seen.stx_dev_minor));
        let namespaces = ["ns/user", "ns/mnt"].map(|name| {
            let link = readlinkat(proc?, name, Vec::new()).ok()?;
            Some(link.into_bytes())
        });
        Self { mount, device, namespaces }
    }
}

static REFUSED: Mutex<Vec<(Instant, Key, String)>> = Mutex::new(Vec::new());

/// Why it was refused a moment ago.
pub(crate) fn known(key: &Key, now: Instant) -> Option<String> {
    let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    refused.retain(|(since, ..)| now.saturating_duration_since(*since) < COUNTS);
    refused.iter().find(|(_, other, _)| other == key).map(|(.., why)| why.clone())
}

/// It is refused.
pub(crate) fn remember(key: Key, why: &str, now: Instant) {
    let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    if refused.len() >= MOST {
        refused.remove(0);
    }
    refused.push((now, key, why.to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_counts_for_a_moment_and_for_its_own_only() {
        let key = |mount| Key { mount, device: (0, 7), namespaces: [None, None] };
        let now = Instant::now();
        remember(key(u64::MAX), "fuse", now);
        assert_eq!(known(&key(u64::MAX), now).as_deref(), Some("fuse"));
        let other = Key { device: (0, 8), ..key(u64::MAX) };
        assert_eq!(known(&other, now), None);
        assert_eq!(known(&key(u64::MAX), now + COUNTS), None);
    }
}
