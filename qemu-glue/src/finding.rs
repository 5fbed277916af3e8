//! A finding of the doctor: what was looked at, what it means, and the remedy.

use std::error::Error;

use foreign::Text;
use serde::Serialize;

use crate::error_chain;
use crate::guest::RamBlock;

/// What a finding means for a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it must be.
    Ok,
    /// Slower, or fewer pages are skipped.
    Warning,
    /// QEMU sends everything, or there is no migration.
    Fails,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it means.
    pub verdict: Verdict,
    /// What is so.
    pub what: Text,
    /// What to do about it.
    pub hint: Option<Text>,
}

impl Finding {
    pub(crate) fn ok(what: impl Into<Text>) -> Self {
        Self { verdict: Verdict::Ok, what: what.into(), hint: None }
    }

    pub(crate) fn warning(what: impl Into<Text>, hint: &str) -> Self {
        Self { verdict: Verdict::Warning, what: what.into(), hint: self::hint(hint) }
    }

    pub(crate) fn fails(error: &(dyn Error + 'static), hint: &str) -> Self {
        Self { verdict: Verdict::Fails, what: error_chain(error).into(), hint: self::hint(hint) }
    }
}

/// A remedy, where there is one.
pub(crate) fn hint(hint: &str) -> Option<Text> {
    (!hint.is_empty()).then(|| hint.into())
}

/// A block of shared RAM.
pub(crate) fn block(block: &RamBlock) -> Finding {
    Finding::ok(format!("RAM block `{}`: {} MiB, shared", block.name, block.length >> 20))
}
