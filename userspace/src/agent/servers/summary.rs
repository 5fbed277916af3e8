//! What is reported of the servers: to the host, and in the log.

use std::time::Duration;

use page_wire::protocol::{Served, ServerState, Trouble};

use super::super::failed::FailureKey;
use super::super::probe_session::ProbeSession;
use super::Servers;

/// Another server is awaited so long after one was lost.
const AWAITED: Duration = Duration::from_secs(10);
/// A process that takes longer to be attached to is not waited for.
const ATTACHING: Duration = Duration::from_secs(30);

impl Servers {
    /// Logs why there is no server, once.
    pub(super) fn report(&mut self) {
        if self.attached().next().is_some() || self.attaching().next().is_some() {
            return;
        }
        let why = self.why();
        if self.reported.as_ref() != Some(&why) {
            let hint = why.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            log::warn!("waiting for a server: {}{hint}", why.what);
            self.reported = Some(why);
        }
    }

    pub(super) fn attached(&self) -> impl Iterator<Item = &ProbeSession> {
        self.sessions.iter().filter(|session| session.identity.is_some())
    }

    fn attaching(&self) -> impl Iterator<Item = &ProbeSession> {
        self.sessions.iter().filter(|session| session.identity.is_none())
    }

    /// Whether a server was there a moment ago, and another may take its place.
    pub(super) fn is_awaited(&self) -> bool {
        self.choice.rule.pids.is_empty() && self.lost.is_some_and(|at| at.elapsed() < AWAITED)
    }

    /// Who is about to be attached to, and worth waiting for.
    ///
    /// While there is no server that is anybody who has not failed. Else only those that were there before the agent: a
    /// server that has only just started has nothing in its pool that is worth a wait.
    fn coming(&self) -> Option<&ProbeSession> {
        let may_be_one = |session: &&ProbeSession| {
            self.failed.may_be_one(FailureKey::of(&session.seen))
                && session.begun.elapsed() < ATTACHING
        };
        let mut coming = self.attaching().filter(may_be_one);
        if self.attached().next().is_none() {
            return coming.next();
        }
        coming.find(|session| session.seen.started <= self.began && session.is_likely())
    }

    /// What a host that wants a list has to wait for.
    pub(in crate::agent) fn awaited(&self) -> Option<Trouble> {
        if !self.has_looked {
            return Some(Trouble::passing("servers are being looked for"));
        }
        if let Some(session) = self.coming() {
            let pid = session.seen.pid;
            return Some(Trouble::passing(format!("probes are being set in process {pid}")));
        }
        if self.attached().next().is_some() {
            return None;
        }
        if let Some(pid) = self.failed.starting() {
            return Some(Trouble::passing(format!("process {pid} is starting")));
        }
        self.is_awaited().then(|| {
            Trouble::passing(format!(
                "the server has exited, and another is waited for, {} s at most",
                AWAITED.as_secs()
            ))
        })
    }

    /// Why there is no server.
    pub(in crate::agent) fn why(&self) -> Trouble {
        let why = self.failed.why().or_else(|| self.none.clone());
        why.unwrap_or_else(|| Trouble::new("no server was looked for yet", None))
    }

    /// As the host gets it; of several servers, the first.
    pub(in crate::agent) fn state(&self) -> ServerState {
        if let Some(session) = self.attached().next()
            && let Some(Served { pid, version, .. }) = session.served()
        {
            return ServerState::Attached { pid, version };
        }
        match self.coming() {
            Some(session) => ServerState::Attaching { pid: session.seen.pid },
            None => {
                let Trouble { what, hint, .. } = self.why();
                ServerState::Waiting { why: what, hint }
            }
        }
    }

    /// All servers as the host gets them, without their figures.
    pub(in crate::agent) fn served(&self) -> Vec<Served> {
        self.attached().filter_map(ProbeSession::served).collect()
    }
}
