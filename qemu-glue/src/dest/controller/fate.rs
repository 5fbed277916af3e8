//! What became of pages.

use super::counters::Counters;
use crate::channel::{NotInstalled, SetRange};

/// What became of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It is there: installed, or delivered by QEMU.
    Installed,
    /// It is not, and must travel by network.
    NotInstalled(NotInstalled),
}

/// What became of some pages.
pub type SettledPages = (Fate, SetRange);

/// What was verified and installed of a read.
#[derive(Debug, Default)]
pub(in crate::dest) struct Verified {
    pub(in crate::dest) answers: Vec<SettledPages>,
    pub(in crate::dest) counters: Counters,
}
