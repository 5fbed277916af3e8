//! What others see of the controller.

use std::collections::BTreeMap;

use foreign::Text;
use page_wire::protocol::{self, Migration as Telemetry};

use super::skip::SkipPhase;
use super::{Controller, LastWord};
use crate::channel::Progress;
use crate::shim::LibraryStatus;
use crate::source::hash::HashLimit;
use crate::source::monitor::migration_info::MigrationInfo;
use crate::source::record::progress::Snapshot;

impl Controller {
    /// QEMU's last answer.
    pub(in crate::source) const fn qemu(&self) -> &MigrationInfo {
        &self.qemu
    }

    /// Why it was cancelled, if it was.
    pub(in crate::source) fn cancelled(&self) -> Option<&str> {
        self.cancelled.as_deref()
    }

    /// The step of the migration that goes on.
    pub(in crate::source) const fn entered(&self) -> &'static str {
        self.step
    }

    /// How far the pages of each device may be hashed now.
    pub(in crate::source) fn hash_limits(&mut self) -> Vec<HashLimit> {
        self.skip.as_mut().map(|skip| skip.ledger.hash_limits()).unwrap_or_default()
    }

    /// The destination's last message, once it is there.
    pub(in crate::source) fn take_last_word(&mut self) -> Option<LastWord> {
        self.skip.as_mut().and_then(|skip| skip.peer.take_last_word())
    }

    /// The progress that the destination reports.
    pub(in crate::source) fn progress(&self) -> Progress {
        self.skip.as_ref().map_or_else(Progress::default, |skip| *skip.peer.progress())
    }

    /// Zero pages among those skipped.
    pub(in crate::source) fn zero_pages(&self) -> u64 {
        self.skip.as_ref().map_or(0, |skip| skip.ledger.zero_pages())
    }

    /// Pages re-dirtied by reason, with those that the library re-dirtied by itself; none when it had
    /// skipped none.
    pub(in crate::source) fn redirtied(&self, status: &LibraryStatus) -> BTreeMap<Text, u64> {
        let Some(skip) = self.skip.as_ref().filter(|_| status.hinted > 0) else {
            return BTreeMap::new();
        };
        let reasons = skip.redirtied().iter().map(|(reason, pages)| ((*reason).into(), *pages));
        let mut reasons: BTreeMap<Text, u64> = reasons.collect();
        if status.redirtied_unconfirmed > 0 {
            reasons.insert("unconfirmed".into(), status.redirtied_unconfirmed);
        }
        reasons
    }

    /// What is sent to people in the guest; nothing in a stock migration.
    pub(in crate::source) fn telemetry(&self) -> Option<Telemetry> {
        let skip = self.skip.as_ref()?;
        let phase = match skip.phase {
            _ if self.cancelled.is_some() => protocol::Phase::GivenUp,
            SkipPhase::Released => protocol::Phase::SwitchingOver,
            _ if self.syncs > 1 => protocol::Phase::Throttled,
            SkipPhase::AwaitingHint | SkipPhase::Restoring | SkipPhase::Redirtying => {
                protocol::Phase::Migrating
            }
        };
        Some(Telemetry {
            phase,
            skipped: skip.library.as_ref().map_or(0, |library| library.hinted),
            installed: skip.ledger.installed_pages(),
            redirtied: skip.ledger.redirtied_pages(),
            remaining_bytes: self.qemu.ram.remaining,
        })
    }

    /// The migration at this moment, but for the bytes of our own channel.
    pub(in crate::source) fn snapshot(&self) -> Snapshot {
        let ram = &self.qemu.ram;
        let mut snapshot = Snapshot {
            status: self.qemu.status.as_str().into(),
            remaining_bytes: ram.remaining,
            total_bytes: ram.total,
            network_bytes: ram.transferred,
            dirty_pages_per_s: ram.dirty_pages_rate,
            syncs: self.syncs,
            waits_for: if self.syncs > 1 { "what the guest writes" } else { "the first pass" },
            ..Snapshot::default()
        };
        let Some(skip) = &self.skip else { return snapshot };
        snapshot.storage_bytes = skip.peer.progress().storage_bytes;
        snapshot.hashed_pages = skip.hashed_pages();
        let skipped = skip.library.as_ref().map_or(0, |library| library.hinted);
        if skipped > 0 {
            snapshot.skipped_pages = skipped;
            snapshot.installed_pages = skip.ledger.installed_pages();
            snapshot.zero_pages = skip.ledger.zero_pages();
            snapshot.redirtied_pages = skip.ledger.redirtied_pages();
            snapshot.outstanding_pages = skip.ledger.outstanding();
        }
        match skip.phase {
            SkipPhase::AwaitingHint => snapshot.waits_for = "the library in QEMU",
            SkipPhase::Restoring if self.syncs > 1 => snapshot.waits_for = "storage",
            SkipPhase::Restoring | SkipPhase::Redirtying | SkipPhase::Released => {}
        }
        snapshot
    }
}
