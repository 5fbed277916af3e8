//! What QEMU's migration parameters are to be again, in the library's memory: it lives as long as QEMU does.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::file::SharedFile;

/// Stands for a parameter that QEMU does not have.
const NONE: u64 = u64::MAX;

/// Three of QEMU's migration parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// `max-bandwidth`, in bytes per second; 0 is without limit.
    pub max_bandwidth: u64,
    /// `downtime-limit`, in milliseconds.
    pub downtime_limit: u64,
    /// `avail-switchover-bandwidth`, in bytes per second, 0 for none; `None` where QEMU has no such parameter.
    pub avail_switchover_bandwidth: Option<u64>,
}

/// Parameters that somebody has changed, as they are to be again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Id of the process that has changed them.
    pub driver: u32,
    /// The user's.
    pub user: Parameters,
    /// What the user wants for the migration that goes on.
    pub migration: Parameters,
}

impl SharedFile {
    /// What is kept; `None` while QEMU has the user's parameters.
    pub(super) fn kept(&self) -> Option<Kept> {
        let kept = &self.control().kept;
        let driver = u32::try_from(kept.driver.load(Acquire)).ok().filter(|driver| *driver != 0)?;
        Some(Kept { driver, user: read(&kept.user), migration: read(&kept.migration) })
    }

    /// Keeps it; nothing where QEMU has the user's parameters.
    pub(super) fn keep(&self, what: Option<&Kept>) {
        let kept = &self.control().kept;
        // Nobody reads what is half written.
        kept.driver.store(0, Release);
        if let Some(what) = what {
            write(&kept.user, &what.user);
            write(&kept.migration, &what.migration);
            kept.driver.store(what.driver.into(), Release);
        }
    }
}

fn read(from: &shim_abi::Parameters) -> Parameters {
    let get = |word: &AtomicU64| word.load(Relaxed);
    let available = get(&from.avail_switchover_bandwidth);
    Parameters {
        max_bandwidth: get(&from.max_bandwidth),
        downtime_limit: get(&from.downtime_limit),
        avail_switchover_bandwidth: Some(available).filter(|bandwidth| *bandwidth != NONE),
    }
}

fn write(to: &shim_abi::Parameters, from: &Parameters) {
    to.max_bandwidth.store(from.max_bandwidth, Relaxed);
    to.downtime_limit.store(from.downtime_limit, Relaxed);
    to.avail_switchover_bandwidth.store(from.avail_switchover_bandwidth.unwrap_or(NONE), Relaxed);
}
