//! Which pages may be hashed now: each device has a window of its own, so one that stalls keeps no hash of another's
//! pages back.
//!
//! ```text
//! controller: limits by device ── allow ──> HashWindows ── claim ──> threads that hash
//! ```

use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Pages of a batch: 8 KiB of hashes for 1 MiB of RAM.
pub const BATCH_PAGES: u32 = 256;

/// How far the pages of one device may be hashed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashLimit {
    /// Number of the first page that may not be hashed yet.
    pub until: u32,
    /// Pages from there on need no hash any more.
    pub is_last: bool,
}

/// What of each device may be hashed, and what was claimed.
#[derive(Debug)]
pub struct HashWindows {
    state: Mutex<WindowState>,
    changed: Condvar,
}

#[derive(Debug)]
struct WindowState {
    windows: Vec<HashWindow>,
    /// Index of the device whose turn it is.
    turn: usize,
    is_stopped: bool,
}

/// The pages of one device, in the order of the set.
#[derive(Debug)]
struct HashWindow {
    /// The first page that no thread has claimed, and the end of the device's.
    rest: Range<u32>,
    limit: HashLimit,
    /// Pages that could not be read: they are never settled, so as many more may be hashed.
    unread: u32,
}

impl HashWindow {
    /// The next pages that may be hashed; empty where there are none now.
    fn next(&self) -> Range<u32> {
        let until = self.limit.until.saturating_add(self.unread).min(self.rest.end);
        let end = self.rest.start.saturating_add(BATCH_PAGES).min(until);
        self.rest.start..end
    }

    /// No further page needs a hash.
    const fn is_done(&self) -> bool {
        let is_last = self.limit.is_last && self.rest.start >= self.limit.until;
        is_last || self.rest.start >= self.rest.end
    }
}

impl HashWindows {
    /// Of devices that have these pages; none may be hashed yet.
    #[must_use]
    pub fn new(devices: &[Range<u32>]) -> Self {
        let window = |pages: &Range<u32>| HashWindow {
            rest: pages.clone(),
            limit: HashLimit { until: pages.start, is_last: false },
            unread: 0,
        };
        let windows = devices.iter().map(window).collect();
        let state = WindowState { windows, turn: 0, is_stopped: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Of one device with these pages, all of which may be hashed.
    #[must_use]
    pub fn all(pages: Range<u32>) -> Self {
        let limit = HashLimit { until: pages.end, is_last: true };
        let windows = Self::new(&[pages]);
        windows.allow(&[limit]);
        windows
    }

    /// How far each device's pages may be hashed from now on.
    pub fn allow(&self, limits: &[HashLimit]) {
        let mut state = self.lock();
        let mut has_changed = false;
        for (window, limit) in state.windows.iter_mut().zip(limits) {
            has_changed |= window.limit != *limit;
            window.limit = *limit;
        }
        drop(state);
        if has_changed {
            self.changed.notify_all();
        }
    }

    /// The next pages to hash, of each device in turn; waits until there are some. `None` once there are no more.
    pub(super) fn claim(&self) -> Option<Range<u32>> {
        let mut state = self.lock();
        loop {
            if state.is_stopped || state.windows.iter().all(HashWindow::is_done) {
                return None;
            }
            let (turn, count) = (state.turn, state.windows.len());
            for index in (0..count).map(|ahead| (turn + ahead) % count) {
                let window = &mut state.windows[index];
                let pages = window.next();
                if !pages.is_empty() {
                    window.rest.start = pages.end;
                    state.turn = index + 1;
                    return Some(pages);
                }
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// These pages were claimed and cannot be read.
    pub(super) fn unread(&self, pages: &Range<u32>) {
        let mut state = self.lock();
        // Claimed pages lie before what is left.
        let of_it = state.windows.iter_mut().find(|window| pages.end <= window.rest.end);
        if let Some(window) = of_it {
            window.unread = window.unread.saturating_add(pages.end - pages.start);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Nothing is hashed any more.
    pub fn stop(&self) {
        self.lock().is_stopped = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, WindowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(untils: [u32; 2], is_last: bool) -> [HashLimit; 2] {
        untils.map(|until| HashLimit { until, is_last })
    }

    /// The pages that may be hashed now, as they are claimed.
    fn claimed(windows: &HashWindows, count: usize) -> Vec<(u32, u32)> {
        let claim = |_| windows.claim().map(|pages| (pages.start, pages.end));
        (0..count).map_while(claim).collect()
    }

    #[test]
    fn devices_take_turns_as_far_as_each_may() {
        let windows = HashWindows::new(&[10..1000, 1000..3000]);
        windows.allow(&limits([300, 1600], false));
        assert_eq!(
            claimed(&windows, 5),
            [(10, 266), (1000, 1256), (266, 300), (1256, 1512), (1512, 1600)]
        );
        windows.allow(&limits([300, 1700], true));
        assert_eq!(claimed(&windows, 2), [(1600, 1700)], "the others need none");
    }

    #[test]
    fn pages_that_cannot_be_read_hold_nothing_up() {
        let windows = HashWindows::new(&[0..600, 600..600]);
        windows.allow(&limits([256, 600], false));
        assert_eq!(claimed(&windows, 1), [(0, 256)]);
        windows.unread(&(0..256));
        assert_eq!(claimed(&windows, 1), [(256, 512)]);
        windows.unread(&(256..512));
        assert_eq!(claimed(&windows, 2), [(512, 600)], "that was all");
    }

    #[test]
    fn who_waits_is_woken() {
        let windows = HashWindows::new(&[0..100, 100..200]);
        std::thread::scope(|scope| {
            let claims = scope.spawn(|| claimed(&windows, 9));
            windows.allow(&limits([50, 100], false));
            windows.allow(&limits([50, 200], false));
            while windows.lock().windows[1].rest.start < 200 {
                std::thread::yield_now();
            }
            windows.stop();
            let claims = claims.join().unwrap();
            assert_eq!(claims.iter().map(|(start, end)| end - start).sum::<u32>(), 150);
        });
    }
}
