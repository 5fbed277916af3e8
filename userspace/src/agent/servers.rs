//! All servers of the machine that the rule allows and that prove themselves, as they come and go.
//!
//! ```text
//! rule -> candidates, twice a second -> a thread each, in turns -> attached ─ tasks -> snapshots, lists
//!   ^                                        │ failed: again later      │ exited, or failed
//!   └────────────────────────────────────────┴──────────────────────────┘
//! ```
//! A process is known by its id, its start and its program. One that has failed is looked at again, later each time; one
//! that is only starting soon.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use foreign::Text;
use page_wire::ask::{MAX_SERVERS, Served, ServerState, Trouble};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use symbols::Ends;

use super::failed::{Failed, Key};
use super::wake::Wake;
use super::watched::{Event, Loss, Made, Newest, News, NotAttached, Task, Watched};
use super::{Choice, Stop, trouble};
use crate::model::Snapshot;
use crate::observer::ObserveOptions;
use crate::target::Target;
use crate::turns::{Budget, Turns};

/// How often servers are looked for, and how often while one is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const AWAITED_EVERY: Duration = Duration::from_millis(100);
/// Looking takes no more than this share of one CPU, however many processes there are.
const LOOK_SHARE: u32 = 20; // one twentieth: 5 %
/// Another server is awaited so long after one was lost.
const AWAITED: Duration = Duration::from_secs(10);
/// A process that takes longer to be attached to is not waited for.
const ATTACHING: Duration = Duration::from_secs(30);
/// Most servers that do not look like the machine's own, unless the rule is about more than names: strangers' servers
/// keep nobody out.
const MAX_STRANGERS: usize = MAX_SERVERS / 2;
/// At its end the agent waits so long for its threads to take their probes out.
const ENDING: Duration = Duration::from_secs(2);
/// How often a stop is looked for while lists are waited for.
const STOP_EVERY: Duration = Duration::from_millis(100);

/// The servers, in whatever state they are.
pub(super) struct Servers {
    choice: Choice,
    options: ObserveOptions,
    sender: Sender<News>,
    news: Receiver<News>,
    wake: Arc<Wake>,
    /// In the order in which they were found.
    watched: Vec<Watched>,
    failed: Failed,
    turns: Turns<u64>,
    budget: Budget,
    /// Threads that have not ended.
    threads: usize,
    next_id: u64,
    next_look: Instant,
    /// When the agent was started, as a process tells it.
    began: u64,
    /// When a server that may come back was lost.
    lost: Option<Instant>,
    /// Why there is no candidate.
    none: Option<Trouble>,
    /// What was last said of servers that are not there.
    said: Option<Trouble>,
    has_said_many: bool,
    /// Lists as they come, by server.
    lists: BTreeMap<u64, Result<Made, Trouble>>,
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
        let now = Instant::now();
        Ok(Self {
            choice,
            options,
            sender,
            news,
            wake: Arc::new(Wake::new()?),
            watched: Vec::new(),
            failed: Failed::default(),
            turns: Turns::default(),
            budget: Budget::default(),
            threads: 0,
            next_id: 0,
            next_look: now,
            began: Target::of(std::process::id()).map_or(0, |own| own.started),
            lost: None,
            none: None,
            said: None,
            has_said_many: false,
            lists: BTreeMap::new(),
            wanted: 0,
            has_new_snapshot: false,
        })
    }

    /// An attempt to attach ends when `stop` is set.
    pub(super) fn until(&mut self, stop: &Stop) {
        self.choice.symbols.ends = Ends::default().and(stop.end());
    }

    /// Takes in what has happened, and looks for servers where it is time.
    pub(super) fn look(&mut self) {
        self.hear();
        if Instant::now() >= self.next_look {
            self.search();
        }
    }

    /// How long [`look`](Self::look) would change nothing, unless a descriptor says else.
    pub(super) fn pause(&self) -> Duration {
        self.next_look.saturating_duration_since(Instant::now())
    }

    /// Ready when there is something to take in.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let exits = self.watched.iter().filter_map(Watched::exit);
        exits.chain([self.wake.as_fd()])
    }

    /// Takes in news, and notices who has exited.
    fn hear(&mut self) {
        self.wake.clear();
        while let Ok(news) = self.news.try_recv() {
            self.take(news);
        }
        let has_exited = |watched: &Watched| {
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            watched.exit().is_some_and(|exit| {
                poll(&mut [PollFd::from_borrowed_fd(exit, PollFlags::IN)], Some(&now))
                    .is_ok_and(|ready| ready > 0)
            })
        };
        let gone: Vec<u64> =
            self.watched.iter().filter(|w| has_exited(w)).map(|watched| watched.id).collect();
        for id in gone {
            self.has_gone(id);
        }
    }

    fn take(&mut self, News(id, event): News) {
        if matches!(event, Event::Ended) {
            self.threads -= 1;
            self.turns.end(&id);
        }
        // Who has exited was forgotten at once, and its thread may still say something.
        let Some(watched) = self.watched.iter_mut().find(|watched| watched.id == id) else {
            return;
        };
        match event {
            Event::Attached(identity) => {
                let Target { pid, user, .. } = &watched.target;
                log::info!("attached to {} (pid {pid} of user {user})", identity.version);
                watched.identity = Some(identity);
                self.failed.forget(Key::of(&watched.target));
                self.turns.end(&id);
                (self.lost, self.said) = (None, None);
            }
            Event::NotAttached(last) => self.fail(id, last),
            Event::Snapshot(ns, snapshot) => {
                watched.done();
                watched.newest = Some(Newest { at: Instant::now(), ns, snapshot });
                self.has_new_snapshot = true;
            }
            Event::List(number, made) => {
                watched.done();
                if number == self.wanted {
                    self.lists.insert(id, *made);
                }
            }
            Event::Prepared => {
                watched.done();
                watched.prepared = Some(Instant::now());
            }
            Event::Lost(Loss { has_exited: true, .. }) => self.has_gone(id),
            Event::Lost(Loss { why, .. }) => self.fail(id, NotAttached { why, is_passing: false }),
            Event::Ended => {
                let what = format!("observing process {} ended early", watched.target.pid);
                self.fail(id, NotAttached { why: Trouble::new(what, None), is_passing: false });
            }
        }
    }

    /// A server is observed no more, or never was.
    fn remove(&mut self, id: u64) -> Option<Watched> {
        let at = self.watched.iter().position(|watched| watched.id == id)?;
        let watched = self.watched.remove(at);
        self.has_new_snapshot |= watched.newest.is_some();
        Some(watched)
    }

    /// It has exited: a restart is no failure, and the next one is looked for at once.
    fn has_gone(&mut self, id: u64) {
        let Some(watched) = self.remove(id) else { return };
        if watched.identity.is_some() {
            log::warn!("the server of process {} has exited", watched.target.pid);
            self.lost = Some(Instant::now());
        }
        self.next_look = Instant::now();
    }

    fn fail(&mut self, id: u64, last: NotAttached) {
        let Some(watched) = self.remove(id) else { return };
        self.turns.end(&id);
        let Target { pid, user, .. } = watched.target;
        let why = last.why.what.clone();
        if self.failed.note(Key::of(&watched.target), last) {
            log::info!("process {pid} of user {user} is not observed: {why}");
        }
    }

    /// Looks at all processes, and begins to attach to those whose turn it is.
    fn search(&mut self) {
        let start = Instant::now();
        let candidates = match self.choice.rule.candidates() {
            Ok(candidates) => {
                self.none = None;
                candidates
            }
            Err(error) => {
                self.none = Some(trouble(&error, error.hint().map(Text::from)));
                Vec::new()
            }
        };
        let here: Vec<Key> = candidates.iter().map(Key::of).collect();
        self.failed.keep(&here);
        for target in candidates {
            self.consider(target);
        }
        self.say();
        let every = if self.is_awaited() { AWAITED_EVERY } else { LOOK_EVERY };
        self.next_look = Instant::now() + every.max(start.elapsed() * LOOK_SHARE);
    }

    fn consider(&mut self, target: Target) {
        let key = Key::of(&target);
        if self.watched.iter().any(|watched| Key::of(&watched.target) == key) {
            return;
        }
        if !self.has_room(&target) {
            if !std::mem::replace(&mut self.has_said_many, true) {
                log::warn!(
                    "{MAX_SERVERS} servers are observed at most, and {MAX_STRANGERS} that do not look like this \
                     machine's own; `--user`, `--unit` and `--datadir` choose among them"
                );
            }
            return;
        }
        if self.failed.has_to_wait(key) {
            return;
        }
        let (id, user) = (self.next_id, target.user);
        if !self.turns.begin(id, user) {
            return;
        }
        if !self.failed.has(key) && !self.budget.take(user) {
            return self.turns.end(&id);
        }
        match Watched::begin(id, target, &self.choice, self.options, &self.sender, &self.wake) {
            Ok(watched) => {
                self.threads += 1;
                self.next_id += 1;
                self.watched.push(watched);
            }
            Err(error) => {
                log::error!("no thread for another server: {error}");
                self.turns.end(&id);
            }
        }
    }

    fn has_room(&self, target: &Target) -> bool {
        let strangers = self.watched.iter().filter(|watched| !watched.target.is_likely()).count();
        let may_be_strange = target.is_likely() || self.choice.rule.is_narrow();
        self.watched.len() < MAX_SERVERS && (may_be_strange || strangers < MAX_STRANGERS)
    }

    /// Logs why there is no server, once.
    fn say(&mut self) {
        if self.attached().next().is_some() || self.attaching().next().is_some() {
            return;
        }
        let why = self.why();
        if self.said.as_ref() != Some(&why) {
            let hint = why.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            log::warn!("waiting for a server: {}{hint}", why.what);
            self.said = Some(why);
        }
    }

    fn attached(&self) -> impl Iterator<Item = &Watched> {
        self.watched.iter().filter(|watched| watched.identity.is_some())
    }

    fn attaching(&self) -> impl Iterator<Item = &Watched> {
        self.watched.iter().filter(|watched| watched.identity.is_none())
    }

    /// Whether a server was there a moment ago, and another may take its place.
    fn is_awaited(&self) -> bool {
        self.choice.rule.pids.is_empty() && self.lost.is_some_and(|at| at.elapsed() < AWAITED)
    }

    /// Who is about to be attached to, and worth waiting for.
    ///
    /// While there is no server that is anybody who has not failed. Else only those that were there before the agent: a
    /// server that has only just started has nothing in its pool that is worth a wait.
    fn coming(&self) -> Option<&Watched> {
        let may_be_one = |watched: &&Watched| {
            self.failed.may_be_one(Key::of(&watched.target)) && watched.begun.elapsed() < ATTACHING
        };
        let mut coming = self.attaching().filter(may_be_one);
        if self.attached().next().is_none() {
            return coming.next();
        }
        coming.find(|watched| watched.target.started <= self.began && watched.target.is_likely())
    }

    /// What a host that wants a list has to wait for.
    pub(super) fn awaited(&self) -> Option<Trouble> {
        if let Some(watched) = self.coming() {
            let pid = watched.target.pid;
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
    pub(super) fn why(&self) -> Trouble {
        let why = self.none.clone().or_else(|| self.failed.why());
        why.unwrap_or_else(|| Trouble::new("no server was looked for yet", None))
    }

    /// As the host is told; of several servers, the first.
    pub(super) fn state(&self) -> ServerState {
        if let Some(watched) = self.attached().next()
            && let Some(Served { pid, version, .. }) = watched.served()
        {
            return ServerState::Attached { pid, version };
        }
        match self.coming() {
            Some(watched) => ServerState::Attaching { pid: watched.target.pid },
            None => {
                let Trouble { what, hint, .. } = self.why();
                ServerState::Waiting { why: what, hint }
            }
        }
    }

    /// All servers as the host is told of them, without their figures.
    pub(super) fn served(&self) -> Vec<Served> {
        self.attached().filter_map(Watched::served).collect()
    }

    /// The newest snapshot of each server that has one, with its id.
    pub(super) fn newest(&self) -> Vec<(u32, Newest)> {
        let newest = |watched: &Watched| Some((watched.target.pid, watched.newest.clone()?));
        self.attached().filter_map(newest).collect()
    }

    /// The snapshots of all servers, where one of them is new or a server is gone.
    pub(super) fn new_snapshots(&mut self) -> Option<Vec<Arc<Snapshot>>> {
        std::mem::take(&mut self.has_new_snapshot)
            .then(|| self.newest().into_iter().map(|(_, newest)| newest.snapshot).collect())
    }

    /// Wants new snapshots of servers whose newest is as old as `age` and which have nothing else to do.
    pub(super) fn refresh(&mut self, age: Duration) {
        for watched in self.watched.iter_mut().filter(|watched| watched.is_idle()) {
            if watched.newest.as_ref().is_none_or(|newest| newest.at.elapsed() >= age) {
                watched.ask(Task::Snapshot);
            }
        }
    }

    /// Has new snapshots taken where the newest is as old as `age`, and waits for them until `until`.
    pub(super) fn refresh_now(&mut self, age: Duration, until: Instant, stop: &Stop) {
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
    pub(super) fn prepare(&mut self, every: Duration) {
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
    pub(super) fn lists(&mut self, number: u64, stop: &Stop) -> Result<Vec<(u32, Made)>, Trouble> {
        self.lists.clear();
        self.wanted = number;
        let start = Instant::now();
        let mut until = start;
        let mut asked = Vec::new();
        for watched in self.watched.iter_mut().filter(|watched| watched.identity.is_some()) {
            if watched.ask(Task::List(number)) {
                until = until.max(start + watched.patience());
                asked.push((!watched.target.is_likely(), watched.id, watched.target.pid));
            } else {
                log::warn!("process {} does not answer: its pages are sent", watched.target.pid);
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

    /// Lets all servers go, and waits until their threads have taken their probes out; the kernel does it for those
    /// that do not end.
    pub(super) fn end(mut self) {
        self.watched.clear();
        let until = Instant::now() + ENDING;
        while self.threads > 0 {
            let left = until.saturating_duration_since(Instant::now());
            match self.news.recv_timeout(left) {
                Ok(news) => self.take(news),
                Err(_) => return,
            }
        }
    }
}
