//! Mounts that were refused a moment ago.
//!
//! Whoever has thousands of files on one, or on one each, makes each look at them a search through tables of mounts that are
//! as long as their owner likes. A number of a mount is used again once it is unmounted, and a descriptor that kept it would
//! keep the mount busy: so a verdict counts for a second, and only where the process's namespaces are the same. One reading
//! of its tables judges all mounts that they name, and those that none names are searched for a few times a second.
//!
//! A mount that may be read is refused for so long at most; none is read for what is remembered here.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{fstat, readlinkat};

/// How long a refusal counts.
const COUNTS: Duration = Duration::from_secs(1);
/// Processes' views that are remembered; the oldest goes.
const MOST_VIEWS: usize = 4;
/// Mounts of a view that are remembered, some 40 bytes each: `fs.mount-max`.
const MOST_MOUNTS: usize = 100_000;
/// Reasons of a view that are counted apart: a user gives its FUSE file systems what names it likes.
const MOST_REASONS: usize = 64;
/// Mounts that a view does not name, and that are searched for all the same: they may be newer.
const MOST_UNNAMED: u32 = 16;

/// Who sees mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountViewer {
    /// The user and the mount namespace of the process.
    namespaces: [Option<Vec<u8>>; 2],
    /// The process's own number, where its namespaces are not known.
    process: Option<u64>,
}

impl MountViewer {
    /// As the process sees them whose `/proc/PID` folder is `proc`; none for us.
    pub(crate) fn of(proc: Option<BorrowedFd<'_>>) -> Self {
        let namespaces = ["ns/user", "ns/mnt"].map(|name| {
            let link = readlinkat(proc?, name, Vec::new()).ok()?;
            Some(link.into_bytes())
        });
        let process = match &namespaces {
            [Some(_), Some(_)] => None,
            _ => proc.and_then(|proc| Some(fstat(proc).ok()?.st_ino)),
        };
        Self { namespaces, process }
    }
}

/// All mounts that a process sees, and those of root: why one is refused, or nothing where it is not.
#[derive(Debug, Default)]
pub(crate) struct View {
    mounts: HashMap<u64, Option<Arc<str>>>,
    reasons: Vec<Arc<str>>,
    /// There were more than are remembered.
    is_cut: bool,
}

impl View {
    /// A mount, as its first line has it.
    pub(crate) fn add(&mut self, number: u64, why: Option<&str>) {
        if self.mounts.len() >= MOST_MOUNTS {
            self.is_cut = true;
            return;
        }
        let why = why.map(|why| self.reason(why));
        self.mounts.entry(number).or_insert(why);
    }

    fn reason(&mut self, why: &str) -> Arc<str> {
        let same = self.reasons.iter().find(|known| ***known == *why);
        if let Some(known) = same {
            return Arc::clone(known);
        }
        if self.reasons.len() >= MOST_REASONS {
            return Arc::clone(&self.reasons[0]);
        }
        self.reasons.push(Arc::from(why));
        Arc::clone(&self.reasons[self.reasons.len() - 1])
    }
}

#[derive(Debug)]
struct Seen {
    since: Instant,
    key: MountViewer,
    view: View,
    /// Mounts that were refused and that the view did not name.
    unnamed: u32,
}

static SEEN: Mutex<Vec<Seen>> = Mutex::new(Vec::new());

/// Why a mount was refused a moment ago, or is now without a look.
pub(crate) fn known(key: &MountViewer, number: u64, now: Instant) -> Option<String> {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    seen.retain(|seen| now.saturating_duration_since(seen.since) < COUNTS);
    let seen = seen.iter().find(|seen| seen.key == *key)?;
    match seen.view.mounts.get(&number) {
        Some(why) => why.as_deref().map(str::to_owned),
        None if seen.unnamed >= MOST_UNNAMED && !seen.view.is_cut => Some(UNKNOWN.to_owned()),
        None => None,
    }
}

/// What no table names.
pub(crate) const UNKNOWN: &str = "an unknown mount";

/// A mount is refused; `view` looks at all others where they have not been looked at.
pub(crate) fn remember(
    key: &MountViewer,
    number: u64,
    why: &str,
    now: Instant,
    view: impl FnOnce() -> View,
) {
    let find = |seen: &mut Vec<Seen>| seen.iter().position(|seen| seen.key == *key);
    let lock = || SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let is_new = find(&mut lock()).is_none();
    // Nobody else waits for that.
    let made = is_new.then(view);
    let mut all = lock();
    if let Some(view) = made
        && find(&mut all).is_none()
    {
        if all.len() >= MOST_VIEWS {
            all.remove(0);
        }
        all.push(Seen { since: now, key: key.clone(), view, unnamed: 0 });
    }
    let Some(at) = find(&mut all) else { return };
    let Seen { view, unnamed, .. } = &mut all[at];
    if !view.mounts.contains_key(&number) {
        *unnamed += 1;
    }
    let why = view.reason(why);
    // It was judged by what is true now.
    if view.mounts.len() < MOST_MOUNTS || view.mounts.contains_key(&number) {
        view.mounts.insert(number, Some(why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(process: u64) -> MountViewer {
        MountViewer { namespaces: [None, None], process: Some(process) }
    }

    #[test]
    fn a_refusal_counts_for_a_moment_and_for_its_own_only() {
        let now = Instant::now();
        let key = key(u64::MAX);
        let mut view = View::default();
        view.add(1, Some("proc"));
        view.add(2, None);
        remember(&key, 3, "fuse", now, || view);
        assert_eq!(known(&key, 3, now).as_deref(), Some("fuse"));
        assert_eq!(known(&key, 1, now).as_deref(), Some("proc"));
        assert_eq!((known(&key, 2, now), known(&key, 4, now)), (None, None));
        assert_eq!(known(&MountViewer { process: None, ..key.clone() }, 3, now), None);
        assert_eq!(known(&key, 3, now + COUNTS), None);
    }

    #[test]
    fn what_is_not_named_is_searched_for_a_few_times() {
        let now = Instant::now();
        let key = key(u64::MAX - 1);
        let view = || {
            let mut view = View::default();
            view.add(1, None);
            view
        };
        let searched = (10..1000).filter(|number| {
            let is_searched = known(&key, *number, now).is_none();
            if is_searched {
                remember(&key, *number, "fuse", now, view);
            }
            is_searched
        });
        assert_eq!(searched.count(), MOST_UNNAMED as usize);
        assert_eq!(known(&key, 1, now), None, "what may be read stays so");
    }

    #[test]
    fn a_view_is_bounded() {
        let mut view = View::default();
        (0..2 * MOST_MOUNTS as u64).for_each(|n| view.add(n, Some(&format!("fuse.{n}"))));
        assert!(view.is_cut && view.mounts.len() == MOST_MOUNTS);
        assert_eq!(view.reasons.len(), MOST_REASONS);
    }
}
