//! What QEMU says unasked.

use std::time::Duration;

use serde_json::Value;

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name, e.g. `MIGRATION`.
    pub name: String,
    /// Its data; null where it has none.
    pub data: Value,
    /// When, by QEMU's wall clock since 1970; zero where QEMU could not tell.
    pub at: Duration,
}

impl Event {
    pub(super) fn of(value: &Value) -> Option<Self> {
        let stamp = |unit: &str| value["timestamp"][unit].as_u64().unwrap_or(0);
        Some(Self {
            name: value["event"].as_str()?.to_owned(),
            data: value["data"].clone(),
            at: Duration::from_secs(stamp("seconds"))
                .saturating_add(Duration::from_micros(stamp("microseconds"))),
        })
    }

    /// The new state of the migration, when this event tells one.
    #[must_use]
    pub fn migration_status(&self) -> Option<&str> {
        (self.name == "MIGRATION").then(|| self.data["status"].as_str()).flatten()
    }

    /// Number of the bitmap sync that has just ended, when this event tells one; the first is 1.
    #[must_use]
    pub fn migration_pass(&self) -> Option<u64> {
        (self.name == "MIGRATION_PASS").then(|| self.data["pass"].as_u64()).flatten()
    }
}
