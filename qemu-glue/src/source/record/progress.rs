//! What the migration reports while it runs.

use foreign::Text;
use serde::Serialize;

/// One event of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Update {
    /// A step begins: `preflight`, `list`, `negotiation`, `first pass`, `throttle`, `convergence`, ...
    Step {
        /// Its name.
        name: &'static str,
    },
    /// Something that a reader of the report should know.
    Warning {
        /// In a sentence.
        text: Text,
    },
    /// The migration at this moment.
    Snapshot(Snapshot),
    /// The limits of QEMU's migrations change hands.
    Limits {
        /// They are those of this migration; otherwise what they were before it.
        ours: bool,
    },
}

/// The migration at one moment. Pages are of 4 KiB.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Snapshot {
    /// Seconds since the `migrate` command.
    pub at_s: f64,
    /// QEMU's status.
    pub status: Text,
    /// RAM that QEMU has still to send, in bytes.
    pub remaining_bytes: u64,
    /// RAM of the VM in bytes.
    pub total_bytes: u64,
    /// Bytes on the migration link.
    pub network_bytes: u64,
    /// Bytes that the destination has read from storage.
    pub storage_bytes: u64,
    /// Rate of the migration link in bytes per second, since the snapshot before.
    pub network_bytes_per_s: f64,
    /// Rate of the restore's reads in bytes per second, since the snapshot before.
    pub storage_bytes_per_s: f64,
    /// Pages skipped; 0 until they are.
    pub skipped_pages: u64,
    /// Of those: hashed and sent to be verified.
    pub hashed_pages: u64,
    /// Of those: verified and installed, or already present.
    pub installed_pages: u64,
    /// Of those: all zeros, as at the destination.
    pub zero_pages: u64,
    /// Of those: re-dirtied.
    pub redirtied_pages: u64,
    /// Of those: neither.
    pub outstanding_pages: u64,
    /// Pages that the guest writes per second.
    pub dirty_pages_per_s: u64,
    /// Number of bitmap syncs.
    pub syncs: u64,
    /// Why the VM has not switched over yet.
    pub waits_for: &'static str,
    /// Seconds until memory is there at the present rates, where they are known.
    pub eta_s: Option<f64>,
}

impl Snapshot {
    /// Fills in what is reckoned from the snapshot before: rates, and the time that the slower of both
    /// paths still takes.
    pub(in crate::source) fn reckon(&mut self, before: &Self) {
        let elapsed = self.at_s - before.at_s;
        if elapsed <= 0.0 {
            return;
        }
        let rate = |now: u64, then: u64| real(now.saturating_sub(then)) / elapsed;
        self.network_bytes_per_s = rate(self.network_bytes, before.network_bytes);
        self.storage_bytes_per_s = rate(self.storage_bytes, before.storage_bytes);
        let time = |bytes: u64, rate: f64| (rate > 0.0).then(|| real(bytes) / rate);
        // RAM that is zero takes no bytes on the link, so RAM itself is timed, not the link.
        let network =
            time(self.remaining_bytes, rate(before.remaining_bytes, self.remaining_bytes));
        let storage =
            time(self.outstanding_pages, rate(before.outstanding_pages, self.outstanding_pages));
        self.eta_s = match (network, storage) {
            (Some(network), Some(storage)) => Some(network.max(storage)),
            (network, storage) => storage.or(network),
        };
    }
}

/// A count as a number to divide.
#[expect(clippy::cast_precision_loss, reason = "nobody reads the sixteenth digit of a rate")]
pub(in crate::source) const fn real(count: u64) -> f64 {
    count as f64
}
