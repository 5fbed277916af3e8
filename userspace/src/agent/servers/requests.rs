//! Requests to the servers' threads: snapshots of their pools, and lists.

use std::sync::Arc;
use std::time::{Duration, Instant};

use page_wire::protocol::Trouble;

use super::super::Stop;
use super::super::probe_session::{MadeList, Newest, ProbeSession, Task};
use super::Servers;
use crate::model::Snapshot;

/// Why a list may take long, and what helps.
const BUSY: &str =
    "the guest has no CPU to spare, or its storage does not answer: try again when it is less busy";

/// How often a stop is looked for while lists are waited for.
const STOP_EVERY: Duration = Duration::from_millis(100);

impl Servers {
    /// The newest snapshot of each server that has one, with its id.
    pub(in crate::agent) fn newest(&self) -> Vec<(u32, Newest)> {
        let newest = |session: &ProbeSession| Some((session.seen.pid, session.newest.clone()?));
        self.attached().filter_map(newest).collect()
    }

    /// The snapshots of all servers, where one of them is new or a server is gone.
    pub(in crate::agent) fn new_snapshots(&mut self) -> Option<Vec<Arc<Snapshot>>> {
        std::mem::take(&mut self.has_new_snapshot)
            .then(|| self.newest().into_iter().map(|(_, newest)| newest.snapshot).collect())
    }

    /// Wants new snapshots of servers whose newest is as old as `age` and which have nothing else to do.
    pub(in crate::agent) fn refresh(&mut self, age: Duration) {
        for session in self.sessions.iter_mut().filter(|session| session.is_idle()) {
            if session.newest.as_ref().is_none_or(|newest| newest.at.elapsed() >= age) {
                session.request(Task::Snapshot);
            }
        }
    }

    /// Has new snapshots taken where the newest is as old as `age`, and waits for them until `until`.
    pub(in crate::agent) fn refresh_now(&mut self, age: Duration, until: Instant, stop: &Stop) {
        let Some(oldest) = Instant::now().checked_sub(age) else { return };
        let is_old = |session: &ProbeSession| {
            session.newest.as_ref().is_none_or(|newest| newest.at <= oldest)
        };
        let mut requested = Vec::new();
        for session in self.sessions.iter_mut().filter(|w| w.is_ready() && is_old(w)) {
            if session.request(Task::Snapshot) {
                requested.push(session.id);
            }
        }
        self.wait(until, stop, |servers| {
            servers
                .sessions
                .iter()
                .any(|session| requested.contains(&session.id) && is_old(session))
        });
    }

    /// Makes a list in advance of each server that has had none for so long.
    pub(in crate::agent) fn prepare(&mut self, every: Duration) {
        for session in self.sessions.iter_mut().filter(|session| session.is_idle()) {
            if session.prepared.is_none_or(|prepared| prepared.elapsed() >= every) {
                session.request(Task::Prepare);
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
        let mut requested = Vec::new();
        let mut failure = None;
        for session in self.sessions.iter_mut().filter(|session| session.identity.is_some()) {
            if session.request(Task::List(number)) {
                until = until.max(start + session.patience());
                requested.push((!session.is_likely(), session.id, session.seen.pid));
            } else {
                let what = format!(
                    "the thread that observes process {} does not answer",
                    session.seen.pid
                );
                log::warn!("{what}: its pages are sent");
                failure = Some(Trouble::new(what, None));
            }
        }
        requested.sort_unstable();
        let has_patience = |session: &ProbeSession| start.elapsed() < session.patience();
        self.wait(until, stop, |servers| {
            let mut sessions = servers.sessions.iter();
            sessions.any(|session| {
                requested.iter().any(|(_, id, _)| *id == session.id)
                    && !servers.lists.contains_key(&session.id)
                    && has_patience(session)
            })
        });
        self.wanted = 0;
        let mut made = Vec::new();
        for (_, id, pid) in requested {
            match self.lists.remove(&id) {
                Some(Ok(list)) => made.push((pid, list)),
                Some(Err(why)) => {
                    let what = &why.what;
                    log::warn!("the pages of process {pid} are sent: {what}");
                    failure = Some(why);
                }
                None => {
                    let waited = start.elapsed().as_secs();
                    let what = format!("no list of process {pid} was made within {waited} s");
                    log::warn!("{what}: its pages are sent");
                    failure = Some(Trouble::new(what, Some(BUSY.into())));
                }
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
        self.receive();
        while is_awaited(self) && !stop.is_set() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            if let Ok(news) = self.news.recv_timeout(left.min(STOP_EVERY)) {
                self.take(news);
            }
            self.receive();
        }
    }
}
