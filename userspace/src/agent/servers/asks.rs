//! What the servers are asked for: snapshots of their pools, and lists.

use std::sync::Arc;
use std::time::{Duration, Instant};

use page_wire::ask::Trouble;

use super::super::Stop;
use super::super::watched::{MadeList, Newest, Task, Watched};
use super::Servers;
use crate::model::Snapshot;

/// How often a stop is looked for while lists are waited for.
const STOP_EVERY: Duration = Duration::from_millis(100);

impl Servers {
    /// The newest snapshot of each server that has one, with its id.
    pub(in crate::agent) fn newest(&self) -> Vec<(u32, Newest)> {
        let newest = |watched: &Watched| Some((watched.seen.pid, watched.newest.clone()?));
        self.attached().filter_map(newest).collect()
    }

    /// The snapshots of all servers, where one of them is new or a server is gone.
    pub(in crate::agent) fn new_snapshots(&mut self) -> Option<Vec<Arc<Snapshot>>> {
        std::mem::take(&mut self.has_new_snapshot)
            .then(|| self.newest().into_iter().map(|(_, newest)| newest.snapshot).collect())
    }

    /// Wants new snapshots of servers whose newest is as old as `age` and which have nothing else to do.
    pub(in crate::agent) fn refresh(&mut self, age: Duration) {
        for watched in self.watched.iter_mut().filter(|watched| watched.is_idle()) {
            if watched.newest.as_ref().is_none_or(|newest| newest.at.elapsed() >= age) {
                watched.ask(Task::Snapshot);
            }
        }
    }

    /// Has new snapshots taken where the newest is as old as `age`, and waits for them until `until`.
    pub(in crate::agent) fn refresh_now(&mut self, age: Duration, until: Instant, stop: &Stop) {
        let Some(oldest) = Instant::now().checked_sub(age) else { return };
        let is_old =
            |watched: &Watched| watched.newest.as_ref().is_none_or(|newest| newest.at <= oldest);
        let mut asked = Vec::new();
        for watched in self.watched.iter_mut().filter(|w| w.is_ready() && is_old(w)) {
            if watched.ask(Task::Snapshot) {
                asked.push(watched.id);
            }
        }
        self.wait(until, stop, |servers| {
            servers.watched.iter().any(|watched| asked.contains(&watched.id) && is_old(watched))
        });
    }

    /// Has a list made for nobody of each server that has had none for so long.
    pub(in crate::agent) fn prepare(&mut self, every: Duration) {
        for watched in self.watched.iter_mut().filter(|watched| watched.is_idle()) {
            if watched.prepared.is_none_or(|prepared| prepared.elapsed() >= every) {
                watched.ask(Task::Prepare);
            }
        }
    }

    /// The lists of all servers, with their process ids, those of the machine's own first.
    ///
    /// # Errors
    /// What is wrong with one, when there is no list at all.
    pub(in crate::agent) fn lists(
        &mut self,
        number: u64,
        stop: &Stop,
    ) -> Result<Vec<(u32, MadeList)>, Trouble> {
        self.lists.clear();
        self.wanted = number;
        let start = Instant::now();
        let mut until = start;
        let mut asked = Vec::new();
        for watched in self.watched.iter_mut().filter(|watched| watched.identity.is_some()) {
            if watched.ask(Task::List(number)) {
                until = until.max(start + watched.patience());
                asked.push((!watched.is_likely(), watched.id, watched.seen.pid));
            } else {
                log::warn!("process {} does not answer: its pages are sent", watched.seen.pid);
            }
        }
        asked.sort_unstable();
        let has_patience = |watched: &Watched| start.elapsed() < watched.patience();
        self.wait(until, stop, |servers| {
            let mut watched = servers.watched.iter();
            watched.any(|watched| {
                asked.iter().any(|(_, id, _)| *id == watched.id)
                    && !servers.lists.contains_key(&watched.id)
                    && has_patience(watched)
            })
        });
        self.wanted = 0;
        let mut made = Vec::new();
        let mut failure = None;
        for (_, id, pid) in asked {
            match self.lists.remove(&id) {
                Some(Ok(list)) => made.push((pid, list)),
                Some(Err(why)) => {
                    let what = &why.what;
                    log::warn!("the pages of process {pid} are sent: {what}");
                    failure = Some(why);
                }
                None => log::warn!("process {pid} has made no list: its pages are sent"),
            }
        }
        if made.is_empty() {
            let why = failure.or_else(|| self.awaited()).unwrap_or_else(|| self.why());
            return Err(why);
        }
        Ok(made)
    }

    /// Takes in news until `until`, as long as `is_awaited`.
    fn wait(&mut self, until: Instant, stop: &Stop, is_awaited: impl Fn(&Self) -> bool) {
        self.hear();
        while is_awaited(self) && !stop.is_set() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            if let Ok(news) = self.news.recv_timeout(left.min(STOP_EVERY)) {
                self.take(news);
            }
            self.hear();
        }
    }
}
