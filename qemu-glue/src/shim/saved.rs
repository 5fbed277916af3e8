//! What QEMU's migration parameters are to be again, in the library's memory: it lives as long as QEMU does.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use serde::Deserialize;

use super::file::SharedFile;

/// Stands for a parameter that QEMU does not have.
const NONE: u64 = u64::MAX;

/// Three of QEMU's migration parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MigrationParameters {
    /// `max-bandwidth`, in bytes per second; 0 is without limit.
    pub max_bandwidth: u64,
    /// `downtime-limit`, in milliseconds.
    pub downtime_limit: u64,
    /// `avail-switchover-bandwidth`, in bytes per second that stand for the measured bandwidth, 0 for none; `None` where
    /// QEMU has no such parameter (before 8.2).
    #[serde(default)]
    pub avail_switchover_bandwidth: Option<u64>,
}

/// Parameters that somebody has changed, as they are to be again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedParameters {
    /// Id of the process that has changed them.
    pub driver: u32,
    /// The user's.
    pub user: MigrationParameters,
    /// What the user wants for the migration that goes on.
    pub migration: MigrationParameters,
}

impl SharedFile {
    /// What is saved; `None` while QEMU has the user's parameters.
    pub(super) fn saved(&self) -> Option<SavedParameters> {
        let saved = &self.control().saved;
        let driver =
            u32::try_from(saved.driver.load(Acquire)).ok().filter(|driver| *driver != 0)?;
        Some(SavedParameters { driver, user: read(&saved.user), migration: read(&saved.migration) })
    }

    /// Saves it; nothing where QEMU has the user's parameters.
    pub(super) fn save(&self, what: Option<&SavedParameters>) {
        let saved = &self.control().saved;
        // A half-written record is not read.
        saved.driver.store(0, Release);
        if let Some(what) = what {
            write(&saved.user, &what.user);
            write(&saved.migration, &what.migration);
            saved.driver.store(what.driver.into(), Release);
        }
    }
}

fn read(from: &shim_abi::ParameterWords) -> MigrationParameters {
    let get = |word: &AtomicU64| word.load(Relaxed);
    let available = get(&from.avail_switchover_bandwidth);
    MigrationParameters {
        max_bandwidth: get(&from.max_bandwidth),
        downtime_limit: get(&from.downtime_limit),
        avail_switchover_bandwidth: Some(available).filter(|bandwidth| *bandwidth != NONE),
    }
}

fn write(to: &shim_abi::ParameterWords, from: &MigrationParameters) {
    to.max_bandwidth.store(from.max_bandwidth, Relaxed);
    to.downtime_limit.store(from.downtime_limit, Relaxed);
    to.avail_switchover_bandwidth.store(from.avail_switchover_bandwidth.unwrap_or(NONE), Relaxed);
}
