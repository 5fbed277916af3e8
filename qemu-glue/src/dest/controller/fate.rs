//! What became of pages.

use super::counters::Counts;
use crate::channel::{NotPlaced, PageRange};

/// What became of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It is there: installed, or delivered by QEMU.
    Placed,
    /// It is not, and must travel by network.
    NotPlaced(NotPlaced),
}

/// What became of some pages.
pub type Answer = (Fate, PageRange);

/// What was proven and installed of a read.
#[derive(Debug, Default)]
pub(in crate::dest) struct Proof {
    pub(in crate::dest) answers: Vec<Answer>,
    pub(in crate::dest) counts: Counts,
}
