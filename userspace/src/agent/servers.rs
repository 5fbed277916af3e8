//! All servers of the machine that the rule allows and that prove themselves, as they come and go.
//!
//! ```text
//! finder: rule -> candidates, twice a second -> a thread each, in turns -> attached ─ tasks -> snapshots, lists
//!   ^                                                │ failed: again later      │ exited, or failed
//!   └────────────────────────────────────────────────┴──────────────────────────┘
//! ```
//! `search` is how servers are found, `requests` what is requested of them, `summary` what is reported of them.
//!
//! A process is known by its id, its start and its program. One that has failed is looked at again, later each time; one
//! that is only starting soon.

mod requests;
mod search;
mod summary;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use page_wire::protocol::Trouble;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use symbols::Ends;

use super::choice::Choice;
use super::failed::{Failed, FailureKey};
use super::finder::Finder;
use super::probe_session::{Loss, MadeList, Newest, News, NotAttached, ProbeSession, SessionEvent};
use super::quota::Quota;
use super::stop::Stop;
use super::wake::Wake;
use crate::observer::ObserveOptions;
use crate::target::{Sighting, Target};
use crate::turns::{LookBudget, Turns};

/// At its end the agent waits so long for its threads to take their probes out in order, and so long for probes whose thread is
/// held by somebody.
const ENDING: Duration = Duration::from_millis(500);
const DETACHING: Duration = Duration::from_secs(1);
/// The servers, in whatever state they are.
pub(super) struct Servers {
    choice: Choice,
    options: ObserveOptions,
    sender: Sender<News>,
    news: Receiver<News>,
    wake: Arc<Wake>,
    /// In the order in which they were found.
    sessions: Vec<ProbeSession>,
    failed: Failed,
    turns: Turns<u64>,
    budget: LookBudget,
    /// Threads that have not ended.
    threads: usize,
    next_id: u64,
    finder: Finder,
    quota: Quota,
    /// Unset while a look is under way and no other is wanted after it.
    next_look: Option<Instant>,
    has_looked: bool,
    /// When the agent was started, by the clock of process start times.
    began: u64,
    /// When a server that may come back was lost.
    lost: Option<Instant>,
    /// Why there is no candidate.
    none: Option<Trouble>,
    /// What was last reported of servers that are not there.
    reported: Option<Trouble>,
    has_reported_many: bool,
    /// Lists as they come, by server.
    lists: BTreeMap<u64, Result<MadeList, Trouble>>,
    wanted: u64,
    has_new_snapshot: bool,
}

impl Servers {
    /// None yet.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub(super) fn new(choice: Choice, options: ObserveOptions) -> io::Result<Self> {
        let (sender, news) = channel();
        let wake = Arc::new(Wake::new()?);
        Ok(Self {
            finder: Finder::start(choice.rule.clone(), Arc::clone(&wake))?,
            quota: Quota::of(&choice.rule),
            choice,
            options,
            sender,
            news,
            wake,
            sessions: Vec::new(),
            failed: Failed::default(),
            turns: Turns::default(),
            budget: LookBudget::default(),
            threads: 0,
            next_id: 0,
            next_look: Some(Instant::now()),
            has_looked: false,
            began: Sighting::of(std::process::id()).map_or(0, |own| own.started),
            lost: None,
            none: None,
            reported: None,
            has_reported_many: false,
            lists: BTreeMap::new(),
            wanted: 0,
            has_new_snapshot: false,
        })
    }

    /// An attempt to attach ends when `stop` is set.
    pub(super) fn until(&mut self, stop: &Stop) {
        self.choice.symbols.ends = Ends::default().and(stop.end());
    }

    /// Ready when there is something to take in.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let exits = self.sessions.iter().filter_map(ProbeSession::exit);
        let probes = self.sessions.iter().filter_map(ProbeSession::probes);
        exits.chain(probes).chain([self.wake.as_fd()])
    }

    /// Takes in news, and notices who has exited.
    fn receive(&mut self) {
        self.wake.clear();
        while let Ok(news) = self.news.try_recv() {
            self.take(news);
        }
        let is_ready = |end: Option<BorrowedFd<'_>>| {
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            end.is_some_and(|end| {
                poll(&mut [PollFd::from_borrowed_fd(end, PollFlags::IN)], Some(&now))
                    .is_ok_and(|ready| ready > 0)
            })
        };
        let has_exited = |session: &&ProbeSession| is_ready(session.exit());
        let gone: Vec<u64> = self.sessions.iter().filter(has_exited).map(|w| w.id).collect();
        for id in gone {
            self.has_gone(id);
        }
        for session in self.sessions.iter_mut().filter(|session| is_ready(session.probes())) {
            session.look_after_probes();
        }
    }

    fn take(&mut self, News(id, event): News) {
        if matches!(event, SessionEvent::Ended) {
            self.threads -= 1;
            self.turns.end(&id);
        }
        // A server that has exited was forgotten at once, and its thread may still send events.
        let Some(session) = self.sessions.iter_mut().find(|session| session.id == id) else {
            return;
        };
        match event {
            SessionEvent::Attached(identity, probes) => {
                let Target { pid, user, .. } = &identity.target;
                log::info!("attached to {} (pid {pid} of user {user})", identity.version);
                self.failed.forget(FailureKey::of(&session.seen));
                session.attached(*identity, probes);
                self.turns.end(&id);
                (self.lost, self.reported) = (None, None);
            }
            SessionEvent::NotAttached(last) => self.fail(id, last),
            SessionEvent::Snapshot(ns, snapshot) => {
                session.done();
                session.newest = Some(Newest { at: Instant::now(), ns, snapshot });
                self.has_new_snapshot = true;
            }
            SessionEvent::List(number, made) => {
                session.done();
                if number == self.wanted {
                    self.lists.insert(id, *made);
                }
            }
            SessionEvent::Prepared => {
                session.done();
                session.prepared = Some(Instant::now());
            }
            SessionEvent::Lost(Loss { has_exited: true, .. }) => self.has_gone(id),
            SessionEvent::Lost(Loss { why, .. }) => self.fail(id, NotAttached::because(why)),
            SessionEvent::Ended => {
                let what = format!("observing process {} ended early", session.seen.pid);
                self.fail(id, NotAttached::because(Trouble::new(what, None)));
            }
        }
    }

    /// A server is observed no more, or never was.
    fn remove(&mut self, id: u64) -> Option<ProbeSession> {
        let at = self.sessions.iter().position(|session| session.id == id)?;
        let session = self.sessions.remove(at);
        self.has_new_snapshot |= session.newest.is_some();
        Some(session)
    }

    /// It has exited: a restart is no failure, and the next one is looked for at once.
    fn has_gone(&mut self, id: u64) {
        let Some(session) = self.remove(id) else { return };
        if session.identity.is_some() {
            log::warn!("the server of process {} has exited", session.seen.pid);
            self.lost = Some(Instant::now());
        }
        self.next_look = Some(Instant::now());
    }

    fn fail(&mut self, id: u64, last: NotAttached) {
        let Some(session) = self.remove(id) else { return };
        self.turns.end(&id);
        let Sighting { pid, user, .. } = session.seen;
        let (why, is_one) = (last.why.what.clone(), !last.is_other);
        if self.failed.note(FailureKey::of(&session.seen), last) && is_one {
            log::info!("process {pid} of user {user} is not observed: {why}");
        }
    }

    /// Lets all servers go, and waits until their probes are out. A thread that does not end, whatever it waits for, keeps
    /// none of them; the kernel may.
    pub(super) fn end(mut self) {
        self.sessions.clear();
        let until = Instant::now() + ENDING;
        while self.threads > 0 {
            let left = until.saturating_duration_since(Instant::now());
            match self.news.recv_timeout(left) {
                Ok(news) => self.take(news),
                Err(_) => break,
            }
        }
        probe_loader::end_all(DETACHING);
    }
}
