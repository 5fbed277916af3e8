//! A process that keeps the lock of its memory map.

use std::fs;

use serde::{Deserialize, Serialize};

/// A process that holds the lock of its memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// The account that started it, or that it changed to: its real user id.
    pub user: u32,
}

impl Holder {
    pub(crate) fn of(pid: u32) -> Self {
        // The kernel answers this whatever the process holds.
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let user = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        let user = user.and_then(|ids| ids.split_ascii_whitespace().next()?.parse().ok());
        Self { pid, user: user.unwrap_or(u32::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_has_its_account() {
        let own = Holder::of(std::process::id());
        assert_eq!(own.user, rustix::process::getuid().as_raw());
        assert_eq!(Holder::of(u32::MAX).user, u32::MAX);
    }
}
