//! `query-migrate`: how far QEMU is.

use serde::Deserialize;

use crate::qmp::{Qmp, QmpError};

/// State of QEMU's migration. Where a key is missing, its value is 0 or empty: QEMU reports most of them
/// only in some states.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(in crate::source) struct MigrationInfo {
    /// `none`, `setup`, `active`, `pre-switchover`, `device`, `completed`, `failed`, `cancelling`,
    /// `cancelled`, ...; empty before the first migration.
    pub(in crate::source) status: String,
    /// Milliseconds since its beginning, or that it took.
    pub(in crate::source) total_time: u64,
    /// Milliseconds that the VM ran nowhere; known at the end.
    pub(in crate::source) downtime: u64,
    /// Milliseconds of its setup.
    pub(in crate::source) setup_time: u64,
    /// Why it failed (8.0 and later report this more often).
    pub(in crate::source) error_desc: Option<String>,
    /// The RAM's part.
    pub(in crate::source) ram: RamStats,
}

/// RAM in `query-migrate`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(in crate::source) struct RamStats {
    /// Bytes sent.
    pub(in crate::source) transferred: u64,
    /// Bytes of RAM still to send.
    pub(in crate::source) remaining: u64,
    /// Bytes of RAM altogether.
    pub(in crate::source) total: u64,
    /// Pages sent as zero pages.
    pub(in crate::source) duplicate: u64,
    /// Pages sent in full.
    pub(in crate::source) normal: u64,
    /// Pages that the guest wrote in a second.
    pub(in crate::source) dirty_pages_rate: u64,
    /// Pages sent in a second, in whatever form.
    pub(in crate::source) pages_per_second: u64,
    /// Number of bitmap syncs.
    pub(in crate::source) dirty_sync_count: u64,
    /// Megabits per second on the link.
    pub(in crate::source) mbps: f64,
}

/// Where a migration can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Stage {
    /// None has begun.
    None,
    /// It goes on.
    Running,
    /// It waits for `migrate-continue`, the VM stopped.
    PreSwitchover,
    /// The VM is at the destination.
    Completed,
    /// It failed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl Stage {
    /// Whether nothing follows it.
    pub(in crate::source) const fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl MigrationInfo {
    /// Asks QEMU.
    ///
    /// # Errors
    /// When the monitor fails.
    pub(in crate::source) async fn of(qmp: &Qmp) -> Result<Self, QmpError> {
        qmp.query("query-migrate").await
    }

    /// Where it is.
    #[must_use]
    pub(in crate::source) fn stage(&self) -> Stage {
        stage(&self.status)
    }

    /// Whether QEMU migrates.
    #[must_use]
    pub(in crate::source) fn goes_on(&self) -> bool {
        matches!(self.stage(), Stage::Running | Stage::PreSwitchover)
    }
}

/// The stage that a status of QEMU stands for; one that is not known goes on.
#[must_use]
pub(in crate::source) fn stage(status: &str) -> Stage {
    match status {
        "" | "none" => Stage::None,
        "pre-switchover" => Stage::PreSwitchover,
        "completed" => Stage::Completed,
        "failed" => Stage::Failed,
        "cancelled" => Stage::Cancelled,
        _ => Stage::Running,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_qemu_are_read() {
        let active = r#"{"expected-downtime": 300, "status": "active", "setup-time": 2, "total-time": 412,
            "ram": {"total": 554508288, "postcopy-requests": 0, "dirty-sync-count": 1, "multifd-bytes": 0,
            "pages-per-second": 32000, "downtime-bytes": 0, "page-size": 4096, "remaining": 381374464,
            "postcopy-bytes": 0, "mbps": 1074.5, "transferred": 52428800, "dirty-sync-missed-zero-copy": 0,
            "precopy-bytes": 52428800, "duplicate": 29000, "dirty-pages-rate": 17, "normal": 12700,
            "normal-bytes": 52019200}}"#;
        let migration: MigrationInfo = serde_json::from_str(active).unwrap();
        assert_eq!(migration.stage(), Stage::Running);
        assert_eq!(migration.ram.remaining, 381_374_464);
        assert_eq!(migration.ram.dirty_pages_rate, 17);
        assert_eq!(migration.ram.pages_per_second, 32_000);
        let none: MigrationInfo = serde_json::from_str("{}").unwrap();
        assert_eq!(none.stage(), Stage::None);
    }
}
