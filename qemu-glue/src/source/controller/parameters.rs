//! QEMU's migration parameters: the user's, and what they become under the throttle.

use serde_json::{Value, json};

use super::throttle::Bandwidth;
use crate::shim::MigrationParameters;

/// Bandwidth while QEMU has nothing to send but what the guest writes over and over, in bytes per
/// second. QEMU shares it out in tenths of a second, about two pages each.
const THROTTLED_BANDWIDTH: u64 = 80 << 10;
/// Most bandwidth that QEMU may reckon with while throttled. It switches over when what is left fits into
/// `downtime-limit` times this; [`THROTTLED_DOWNTIME_MS`] of it are 512 KiB, half of what the library in QEMU
/// keeps dirty. From 8.2 on it gets the number (`avail-switchover-bandwidth`) and may send faster;
/// before, it takes what it has measured, and must be kept from measuring more.
const THROTTLED_SWITCHOVER_BANDWIDTH: u64 = 512 << 20;
/// Milliseconds of `downtime-limit` while throttled. Not 0: with 0, QEMU up to 10.x does not look at the
/// bitmap again at the end of the first pass, finds nothing left, and switches over.
const THROTTLED_DOWNTIME_MS: u64 = 1;

/// Part of the user's downtime that is set at first.
const GENTLE: u64 = 8;

impl MigrationParameters {
    /// These, with what the user asks for instead: bytes per second, milliseconds.
    #[must_use]
    pub(in crate::source) fn with(
        self,
        max_bandwidth: Option<u64>,
        downtime_limit: Option<u64>,
    ) -> Self {
        Self {
            max_bandwidth: max_bandwidth.unwrap_or(self.max_bandwidth),
            downtime_limit: downtime_limit.unwrap_or(self.downtime_limit),
            ..self
        }
    }

    /// The same with a fraction of the downtime: QEMU goes on sending where it would stop the VM at once.
    #[must_use]
    pub(super) fn gentle(self) -> Self {
        let downtime_limit = self.downtime_limit.div_ceil(GENTLE).max(THROTTLED_DOWNTIME_MS + 1);
        Self { downtime_limit: downtime_limit.min(self.downtime_limit), ..self }
    }

    /// What keeps QEMU from switching over while it sends at `bandwidth`.
    #[must_use]
    pub(super) fn throttled(&self, bandwidth: Bandwidth) -> Self {
        let unbounded = |bandwidth| if bandwidth == 0 { u64::MAX } else { bandwidth };
        let most = match self.avail_switchover_bandwidth {
            Some(_) => self.max_bandwidth,
            None => unbounded(self.max_bandwidth).min(THROTTLED_SWITCHOVER_BANDWIDTH),
        };
        Self {
            max_bandwidth: match bandwidth {
                Bandwidth::Full => most,
                Bandwidth::Limited(rate) => unbounded(most).min(rate.max(1)),
                Bandwidth::Throttled => unbounded(most).min(THROTTLED_BANDWIDTH),
            },
            downtime_limit: THROTTLED_DOWNTIME_MS,
            avail_switchover_bandwidth: self
                .avail_switchover_bandwidth
                .map(|_| THROTTLED_SWITCHOVER_BANDWIDTH),
        }
    }

    /// As `migrate-set-parameters` takes them.
    pub(in crate::source) fn arguments(&self) -> Value {
        let mut parameters = json!({
            "max-bandwidth": self.max_bandwidth,
            "downtime-limit": self.downtime_limit,
        });
        if let Some(bandwidth) = self.avail_switchover_bandwidth {
            parameters["avail-switchover-bandwidth"] = bandwidth.into();
        }
        parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(max_bandwidth: u64, downtime_limit: u64) -> MigrationParameters {
        MigrationParameters { max_bandwidth, downtime_limit, avail_switchover_bandwidth: None }
    }

    #[test]
    fn a_throttled_migration_never_has_more_than_the_library_keeps_dirty() {
        let shares = [
            Bandwidth::Full,
            Bandwidth::Limited(1 << 31),
            Bandwidth::Limited(1 << 25),
            Bandwidth::Throttled,
        ];
        for user in [0, 1000, 128 << 20, 100 << 30] {
            for bandwidth in shares {
                let throttled = parameters(user, 300).throttled(bandwidth);
                assert!(throttled.max_bandwidth > 0, "0 would be without limit");
                assert!(throttled.max_bandwidth / 1000 * throttled.downtime_limit < 1 << 20);
                assert!(user == 0 || throttled.max_bandwidth <= user);
                // Where QEMU takes the bandwidth to reckon with.
                let set = MigrationParameters {
                    avail_switchover_bandwidth: Some(0),
                    ..parameters(user, 300)
                };
                let throttled = set.throttled(bandwidth);
                let reckoned = throttled.avail_switchover_bandwidth.unwrap();
                assert!(reckoned > 0 && reckoned / 1000 * throttled.downtime_limit < 1 << 20);
                assert!(user == 0 || throttled.max_bandwidth <= user);
                assert_eq!(throttled.max_bandwidth == 0, user == 0 && bandwidth == Bandwidth::Full);
            }
        }
    }

    #[test]
    fn a_gentle_end_is_no_hold_and_no_longer_than_the_user_allows() {
        for (user, gentle) in [(300, 38), (40, 5), (3, 2), (1, 1), (0, 0)] {
            assert_eq!(parameters(0, user).gentle().downtime_limit, gentle);
        }
    }
}
