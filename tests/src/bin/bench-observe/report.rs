//! The figures of a run, printed as they come and written as JSON at the end.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::figure::{Figure, Verdict};
use crate::machine::MachineFacts;

/// What a run found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: MachineFacts,
    quick: bool,
    figures: Vec<Figure>,
    skipped: Vec<Untold>,
    failed: Vec<Untold>,
}

/// Something without a figure, and why.
#[derive(Debug, Serialize)]
struct Untold {
    name: String,
    reason: String,
}

impl Report {
    /// An empty report of this machine, announced.
    pub(crate) fn new(quick: bool) -> Self {
        let machine = MachineFacts::here();
        println!("{machine}");
        if quick {
            println!("a quick run: figures of cost are not judged");
        }
        Self { machine, quick, figures: Vec::new(), skipped: Vec::new(), failed: Vec::new() }
    }

    /// Adds and prints a figure.
    pub(crate) fn add(&mut self, figure: Figure) {
        let figure = if self.quick { figure.of_quick_run() } else { figure };
        println!("{figure}");
        self.figures.push(figure);
    }

    /// The highest value of the figures so far whose names begin so.
    pub(crate) fn highest(&self, prefix: &str) -> Option<f64> {
        let named = self.figures.iter().map(Figure::named);
        let values = named.filter(|(name, _)| name.starts_with(prefix)).map(|(_, value)| value);
        values.reduce(f64::max)
    }

    /// Notes what cannot be measured here.
    pub(crate) fn skip(&mut self, name: &str, reason: impl std::fmt::Display) {
        test_servers::skipped(name, &reason);
        self.skipped.push(Untold { name: name.to_owned(), reason: reason.to_string() });
    }

    /// Notes what ended with an error.
    pub(crate) fn fail(&mut self, name: &str, error: &anyhow::Error) {
        println!("FAIL {name}: {error:#}");
        self.failed.push(Untold { name: name.to_owned(), reason: format!("{error:#}") });
    }

    /// Whether every goal was met and nothing ended with an error.
    pub(crate) fn is_good(&self) -> bool {
        self.failed.is_empty()
            && self.figures.iter().all(|figure| figure.verdict() != Some(Verdict::Missed))
    }

    /// Prints the sum.
    pub(crate) fn conclude(&self) {
        let count = |verdict| self.figures.iter().filter(|f| f.verdict() == verdict).count();
        println!(
            "{} ok, {} FAIL, {} unclear, {} without a verdict, {} skipped",
            count(Some(Verdict::Met)),
            count(Some(Verdict::Missed)) + self.failed.len(),
            count(Some(Verdict::Unclear)),
            count(None),
            self.skipped.len()
        );
    }

    /// Writes everything as JSON.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let failed = || format!("failed to write `{}`", path.display());
        let mut out = BufWriter::new(File::create(path).with_context(failed)?);
        serde_json::to_writer_pretty(&mut out, self).with_context(failed)?;
        writeln!(out).and_then(|()| out.flush()).with_context(failed)
    }
}
