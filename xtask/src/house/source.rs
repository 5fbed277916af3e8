//! A file of the repository as a rule sees it, and what the rule finds.

use std::path::Path;

/// A file of the repository.
pub(super) struct Source<'a> {
    /// Relative to the top of the repository.
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
    /// The command line that the documentation has to match.
    pub(super) commands: &'a clap::Command,
}

/// Where a rule is broken, and how.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) message: String,
}

impl Source<'_> {
    pub(super) fn is(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|own| own == extension)
    }

    /// The lines, counted from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}
