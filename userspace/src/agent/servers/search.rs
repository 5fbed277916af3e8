//! How servers come: whose turn it is among the processes that may be some.

use std::time::{Duration, Instant};

use foreign::Text;

use super::super::failed::FailureKey;
use super::super::finder::Look;
use super::super::probe_session::ProbeSession;
use super::super::quota::{self, Tenant};
use super::super::trouble::trouble;
use super::Servers;
use crate::target::Sighting;

/// How often servers are looked for, and how often while one is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const AWAITED_EVERY: Duration = Duration::from_millis(100);
/// While a look is under way, that is when it is looked after it.
const LOOKING: Duration = Duration::from_secs(1);

impl Servers {
    /// Takes in what has happened, and has servers looked for where it is time.
    pub(in crate::agent) fn look(&mut self) {
        self.receive();
        if let Some(look) = self.finder.take() {
            self.take_candidates(look);
        }
        if self.next_look.is_some_and(|at| Instant::now() >= at) && !self.finder.is_requested() {
            self.finder.request();
            self.next_look = None;
        }
    }

    /// How long [`look`](Self::look) would change nothing, unless a descriptor shows otherwise.
    pub(in crate::agent) fn pause(&self) -> Duration {
        match self.next_look {
            Some(at) if !self.finder.is_requested() => at.saturating_duration_since(Instant::now()),
            _ => LOOKING,
        }
    }

    /// Begins to attach to those whose turn it is.
    fn take_candidates(&mut self, look: Look) {
        let every = if self.is_awaited() { AWAITED_EVERY } else { LOOK_EVERY };
        let next = Instant::now() + look.pause(every);
        let candidates = match look.candidates {
            Ok(candidates) => {
                self.none = None;
                candidates
            }
            Err(error) => {
                self.none = Some(trouble(&error, error.hint().map(Text::from)));
                Vec::new()
            }
        };
        // A loader may be no server at all.
        let rule = &self.choice.rule;
        if rule.pids.is_empty() && candidates.iter().all(|seen| seen.is_loader) {
            let error = rule.none();
            self.none = Some(trouble(&error, error.hint().map(Text::from)));
        }
        self.has_looked = true;
        let here: Vec<FailureKey> = candidates.iter().map(FailureKey::of).collect();
        self.failed.keep(&here);
        for seen in candidates {
            self.consider(seen);
        }
        self.report();
        // Another look may be wanted at once: a server has gone meanwhile.
        self.next_look.get_or_insert(next);
    }

    fn consider(&mut self, seen: Sighting) {
        let key = FailureKey::of(&seen);
        let is_known = self.sessions.iter().any(|session| FailureKey::of(&session.seen) == key);
        if is_known || self.failed.has_to_wait(key) {
            return;
        }
        let new = Tenant { user: seen.user, is_likely: seen.is_likely() };
        if !self.quota.has_room(self.sessions.iter().map(ProbeSession::tenant), new) {
            if !seen.is_loader && !std::mem::replace(&mut self.has_reported_many, true) {
                log::warn!("{}", quota::full());
            }
            return;
        }
        let (id, user) = (self.next_id, seen.user);
        if !self.turns.begin(id, user) {
            return;
        }
        if !self.failed.has(key) && !self.budget.take(user) {
            return self.turns.end(&id);
        }
        match ProbeSession::begin(id, seen, &self.choice, self.options, &self.sender, &self.wake) {
            Ok(session) => {
                self.threads += 1;
                self.next_id += 1;
                self.sessions.push(session);
            }
            Err(error) => {
                log::error!("no thread for another server: {error}");
                self.turns.end(&id);
            }
        }
    }
}
