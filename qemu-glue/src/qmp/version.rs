//! QEMU's version.

use std::fmt;

use serde_json::Value;

/// Version of a QEMU; ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QemuVersion {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number.
    pub micro: u32,
}

impl QemuVersion {
    pub(super) fn of_greeting(greeting: &Value) -> Option<Self> {
        let qemu = &greeting["QMP"]["version"]["qemu"];
        let number = |name: &str| u32::try_from(qemu[name].as_u64()?).ok();
        Some(Self { major: number("major")?, minor: number("minor")?, micro: number("micro")? })
    }

    /// Whether this is `major.minor` or later.
    #[must_use]
    pub const fn is_at_least(&self, major: u32, minor: u32) -> bool {
        self.major > major || (self.major == major && self.minor >= minor)
    }
}

impl fmt::Display for QemuVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}
