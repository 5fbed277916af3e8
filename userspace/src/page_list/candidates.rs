//! The scan's harvest: pages that may be left out but for their place, in file order.

use std::collections::BTreeMap;

use super::ListError;
use super::judge::{Judge, Reason};
use super::lsn::find_detached;
use crate::memory::ServerAddr;
use crate::residency::Residency;
use crate::scan::scan;
use crate::server::Server;

/// An eligible page, but for its place.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    pub(super) space: u32,
    pub(super) page: u32,
    pub(super) block: u32,
}

/// Blocks left out, by reason. There are few reasons, so a list is quicker than a map.
#[derive(Default)]
pub(super) struct LeftOut<'a> {
    counts: Vec<(Reason<'a>, u64)>,
}

impl<'a> LeftOut<'a> {
    #[inline]
    pub(super) fn add(&mut self, reason: Reason<'a>) {
        match self.counts.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((reason, 1)),
        }
    }

    /// Counts by stable name.
    pub(super) fn names(&self) -> BTreeMap<String, u64> {
        let mut names = BTreeMap::new();
        for (reason, count) in &self.counts {
            *names.entry(reason.name().to_owned()).or_default() += count;
        }
        names
    }
}

/// Scans and judges; the candidates are sorted by space and page.
pub(super) fn find<'a>(
    server: &'a Server,
    residency: Option<&'a Residency>,
) -> Result<(Vec<Candidate>, LeftOut<'a>), ListError> {
    let mut judge = Judge::new(server, residency);
    let mut candidates = Vec::new();
    let mut left_out = LeftOut::default();
    let mut changed = Vec::new();
    scan(server.memory(), &server.layout, &server.geometry, |block| match judge.judge(&block) {
        (_, None) => {
            let newest = block.newest_lsn();
            if residency.is_none() && newest != 0 {
                changed.push((candidates.len(), (block.frame(), newest)));
            }
            candidates.push(Candidate {
                space: block.space(),
                page: block.page(),
                block: block.index,
            });
        }
        (_, Some(reason)) => left_out.add(reason),
    })?;
    remove_detached(server, &changed, &mut candidates, &mut left_out);
    candidates.sort_unstable_by_key(|c| u64::from(c.space) << 32 | u64::from(c.page));
    Ok((candidates, left_out))
}

/// Applies the LSN test to the candidates that were changed since they were read.
fn remove_detached(
    server: &Server,
    changed: &[(usize, (ServerAddr, u64))],
    candidates: &mut Vec<Candidate>,
    left_out: &mut LeftOut<'_>,
) {
    let pages: Vec<_> = changed.iter().map(|(_, page)| *page).collect();
    let mut gone = Vec::new();
    find_detached(server.memory(), &pages, |index| gone.push(changed[index].0));
    for index in gone.into_iter().rev() {
        candidates.swap_remove(index);
        left_out.add(Reason::Detached);
    }
}
