//! One finding, and all of them together.

use std::error::Error;

use foreign::Text;
use serde::Serialize;

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// As it should be.
    Ok,
    /// Observing works, but less well or with fewer answers.
    Warning,
    /// Observing does not work.
    Fail,
    /// Not known on this machine; other checks show whether it matters.
    Unknown,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at; stable.
    pub name: &'static str,
    /// How it went.
    pub status: CheckStatus,
    /// What was found, for people.
    pub found: Text,
    /// What to do about it.
    pub remedy: Option<Text>,
}

impl Check {
    pub(super) fn ok(name: &'static str, found: impl Into<Text>) -> Self {
        Self { name, status: CheckStatus::Ok, found: found.into(), remedy: None }
    }

    pub(super) fn warning(
        name: &'static str,
        found: impl Into<Text>,
        remedy: impl Into<Text>,
    ) -> Self {
        let remedy = Some(remedy.into());
        Self { name, status: CheckStatus::Warning, found: found.into(), remedy }
    }

    pub(super) fn fail(
        name: &'static str,
        found: impl Into<Text>,
        remedy: impl Into<Text>,
    ) -> Self {
        Self { name, status: CheckStatus::Fail, found: found.into(), remedy: Some(remedy.into()) }
    }

    pub(super) fn unknown(name: &'static str, found: impl Into<Text>) -> Self {
        Self { name, status: CheckStatus::Unknown, found: found.into(), remedy: None }
    }
}

/// All findings.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// True when no check failed.
    pub works: bool,
    /// What holds for every server on this machine.
    pub machine: Vec<Check>,
    /// What holds for the chosen server; the first check names it.
    pub server: Vec<Check>,
}

impl Report {
    pub(super) fn new(machine: Vec<Check>, server: Vec<Check>) -> Self {
        let failed = |check: &Check| check.status == CheckStatus::Fail;
        let works = !machine.iter().chain(&server).any(failed);
        Self { works, machine, server }
    }

    /// Number of checks with this status.
    #[must_use]
    pub fn count(&self, status: CheckStatus) -> usize {
        self.machine.iter().chain(&self.server).filter(|check| check.status == status).count()
    }
}

/// A number and its noun, e.g. `1 chunk`, `2 chunks`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Longest text that is kept of one error: the verifier's log has thousands of lines.
const MAX_CAUSE_CHARS: usize = 160;

/// An error and its causes on one line, each once, the first line of each.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let full = error.to_string();
        let cause: String =
            full.lines().next().unwrap_or_default().chars().take(MAX_CAUSE_CHARS).collect();
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Memory, ServerAddr};
    use crate::validation::ValidationError;

    #[test]
    fn only_failures_keep_it_from_working() {
        let rest = vec![Check::warning("b", "", "x"), Check::unknown("c", ""), Check::ok("d", "")];
        assert!(Report::new(rest.clone(), rest.clone()).works);
        let report = Report::new(rest, vec![Check::fail("a", "", "y")]);
        assert!(!report.works);
        assert_eq!((report.count(CheckStatus::Fail), report.count(CheckStatus::Warning)), (1, 1));
    }

    #[test]
    fn causes_stand_on_one_line() {
        let memory = Memory::of(std::process::id());
        let error = ValidationError::from(memory.integer(ServerAddr(8), 8).unwrap_err());
        let text = causes(&error);
        assert!(text.starts_with("failed to read the pool: failed to read 8 bytes"), "{text}");
        assert!(!text.contains('\n'));
    }

    #[test]
    fn the_json_form_has_four_keys_a_check() {
        let json = serde_json::to_value(Check::warning("kernel", "old", "upgrade")).unwrap();
        let expected = serde_json::json!(
            {"name": "kernel", "status": "warning", "found": "old", "remedy": "upgrade"}
        );
        assert_eq!(json, expected);
    }
}
