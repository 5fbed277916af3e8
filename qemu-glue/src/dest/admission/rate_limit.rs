//! A log of what others can make happen as often as they like: a line for each kind of it a minute, the rest counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long one kind is only counted after it was logged.
const QUIET: Duration = Duration::from_secs(55);

/// What happened, by kind.
pub struct RateLimitedLog {
    /// What is counted, in the plural.
    what: &'static str,
    kinds: BTreeMap<&'static str, Kind>,
    last: Instant,
}

#[derive(Default)]
struct Kind {
    logged: Option<Instant>,
    untold: u64,
}

impl RateLimitedLog {
    /// A log of `what`, in the plural.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        Self { what, kinds: BTreeMap::new(), last: Instant::now() }
    }

    /// Something has happened; it is logged if nothing of its kind was for a while.
    pub fn warn(&mut self, kind: &'static str, text: impl FnOnce() -> String) {
        if self.is_due(kind) {
            log::warn!("{}", foreign::shown(&text()));
        }
    }

    /// [`flush`](Self::flush), where the last time is a while ago.
    pub fn flush_if_due(&mut self) {
        if self.last.elapsed() >= QUIET {
            self.flush();
        }
    }

    /// Logs how many were not logged one by one.
    pub fn flush(&mut self) {
        self.last = Instant::now();
        for line in self.lines() {
            log::warn!("{line}");
        }
    }

    fn is_due(&mut self, kind: &'static str) -> bool {
        let kind = self.kinds.entry(kind).or_default();
        let is_due = kind.logged.is_none_or(|logged| logged.elapsed() >= QUIET);
        if is_due {
            kind.logged = Some(Instant::now());
        } else {
            kind.untold += 1;
        }
        is_due
    }

    fn lines(&mut self) -> Vec<String> {
        let what = self.what;
        let untold = self.kinds.iter_mut().filter(|(_, kind)| kind.untold > 0);
        untold
            .map(|(name, kind)| {
                kind.logged = Some(Instant::now());
                format!("{} more {what}: {name}", std::mem::take(&mut kind.untold))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_line_and_a_number() {
        let mut log = RateLimitedLog::new("connections");
        let logged = (0..32_000).filter(|_| log.is_due("strangers")).count();
        assert_eq!(logged, 1);
        assert!(log.is_due("silent"), "another kind");
        assert_eq!(log.lines(), ["31999 more connections: strangers"]);
        assert_eq!(log.lines(), Vec::<String>::new());
    }
}
