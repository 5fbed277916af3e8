//! QEMU's events.

use std::time::Duration;

use serde_json::Value;

/// Longest name of an event, and of a state that it names, in bytes.
const MAX_NAME: usize = 64;

/// An event. Of its data, only what is of use here is kept: as many events wait as a listener may lag behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name, e.g. `MIGRATION`.
    pub name: Box<str>,
    /// When, by QEMU's wall clock since 1970; zero where QEMU could not read it.
    pub at: Duration,
    status: Option<Box<str>>,
    pass: Option<u64>,
}

impl Event {
    /// The event that `value` is; `None` for other lines, and for one whose name no event has.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let stamp = |unit: &str| value["timestamp"][unit].as_u64().unwrap_or(0);
        let short =
            |value: &Value| value.as_str().filter(|text| text.len() <= MAX_NAME).map(Box::from);
        let name: Box<str> = short(&value["event"])?;
        let data = &value["data"];
        Some(Self {
            status: if *name == *"MIGRATION" { short(&data["status"]) } else { None },
            pass: if *name == *"MIGRATION_PASS" { data["pass"].as_u64() } else { None },
            name,
            at: Duration::from_secs(stamp("seconds"))
                .saturating_add(Duration::from_micros(stamp("microseconds"))),
        })
    }

    /// The new state of the migration, when this event has one.
    #[must_use]
    pub fn migration_status(&self) -> Option<&str> {
        self.status.as_deref()
    }

    /// Number of the bitmap sync that has just ended, when this event has one; the first is 1.
    #[must_use]
    pub const fn migration_pass(&self) -> Option<u64> {
        self.pass
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_an_event_only_what_is_of_use_is_kept() {
        let event = Event::of(&json!({ "event": "MIGRATION", "data": { "status": "active" } }));
        assert_eq!(event.unwrap().migration_status(), Some("active"));
        let event =
            Event::of(&json!({ "event": "MIGRATION_PASS", "data": { "pass": 2 } })).unwrap();
        assert_eq!((event.migration_pass(), event.migration_status()), (Some(2), None));
        let long = "x".repeat(1000);
        assert_eq!(Event::of(&json!({ "event": long })), None);
        let nested = vec![json!({ "": { "": {} } }); 1000];
        let event = json!({ "event": "MIGRATION", "data": { "status": long, "more": nested } });
        let event = Event::of(&event).unwrap();
        // All that it holds, but for its name.
        assert_eq!((event.migration_status(), event.migration_pass()), (None, None));
        assert!(size_of::<Event>() <= 64);
    }
}
