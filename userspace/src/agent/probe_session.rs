//! One server, and the thread that attaches to it and observes it.
//!
//! A server's memory and files may be a stranger's, and reading them may take as long as that one likes. So the agent
//! hands out tasks and goes on; whatever a server does, it keeps its own thread busy and no other.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use foreign::Text;
use page_wire::protocol::{Served, Trouble};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::choice::Choice;
use super::durable::make_durable;
use super::quota::Tenant;
use super::trouble::trouble;
use super::wake::Wake;
use crate::clock::monotonic_ns;
use crate::model::Snapshot;
use crate::observer::{ObserveError, ObserveOptions, Observer};
use crate::page_list::Built;
use crate::probes::ProbesError;
use crate::target::{Sighting, Target, TargetError};

/// A request to a server's thread.
#[derive(Clone, Copy, Debug)]
pub(super) enum Task {
    /// A snapshot of now.
    Snapshot,
    /// A list for the host, by the number that the host will know it by.
    List(u64),
    /// A list in advance: the next one is made from it.
    Prepare,
}

/// An event of a thread; the number is the thread's.
pub(super) struct News(pub(super) u64, pub(super) SessionEvent);

pub(super) enum SessionEvent {
    /// The probes are set; the descriptor is readable once they are gone, and not by us.
    Attached(Box<ServerIdentity>, Option<OwnedFd>),
    /// They are not.
    NotAttached(NotAttached),
    /// To [`Task::Snapshot`].
    Snapshot(u64, Arc<Snapshot>),
    /// To [`Task::List`].
    List(u64, Box<Result<MadeList, Trouble>>),
    /// To [`Task::Prepare`].
    Prepared,
    /// The server cannot be observed any more.
    Lost(Loss),
    /// The thread has ended, and what it held is gone.
    Ended,
}

/// Why a server was not attached to.
#[derive(Clone, Debug)]
pub(super) struct NotAttached {
    pub(super) why: Trouble,
    /// It may be otherwise in a moment: the server is starting, or being resized.
    pub(super) is_passing: bool,
    /// It is called like a loader only, and it does not count as a server.
    pub(super) is_other: bool,
    /// Another process than the server is in the way.
    pub(super) is_held: bool,
}

impl NotAttached {
    /// For a reason that stays.
    pub(super) const fn because(why: Trouble) -> Self {
        Self { why, is_passing: false, is_other: false, is_held: false }
    }
}

/// Why a server is observed no more.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    pub(super) why: Trouble,
    /// It has exited, or become another program; else observing it has failed.
    pub(super) has_exited: bool,
}

/// A server's list.
pub(super) struct MadeList {
    pub(super) built: Built,
    /// Seconds that writing out its files took.
    pub(super) sync_s: f64,
}

/// What is known of a server as soon as it has proven itself.
#[derive(Clone, Debug)]
pub(super) struct ServerIdentity {
    pub(super) target: Target,
    pub(super) version: String,
    pub(super) pool_bytes: u64,
}

/// A snapshot, and when it was taken.
#[derive(Clone)]
pub(super) struct Newest {
    pub(super) at: Instant,
    pub(super) ns: u64,
    pub(super) snapshot: Arc<Snapshot>,
}

/// A server, attached to or about to be.
pub(super) struct ProbeSession {
    pub(super) id: u64,
    /// As it was first seen.
    pub(super) seen: Sighting,
    /// Since the probes are set.
    pub(super) identity: Option<ServerIdentity>,
    pub(super) newest: Option<Newest>,
    pub(super) prepared: Option<Instant>,
    pub(super) begun: Instant,
    /// Tasks that it has not done.
    pending: u32,
    /// Since when it has been at the first of them.
    busy: Option<Instant>,
    tasks: Sender<Task>,
    exit: Option<OwnedFd>,
    /// Ready once the probes are gone.
    probes: Option<OwnedFd>,
}

impl ProbeSession {
    /// Begins to look closer at a process, and to attach to it; what becomes of it comes as news.
    pub(super) fn begin(
        id: u64,
        seen: Sighting,
        choice: &Choice,
        options: ObserveOptions,
        news: &Sender<News>,
        wake: &Arc<Wake>,
    ) -> std::io::Result<Self> {
        let pid = i32::try_from(seen.pid).ok().and_then(Pid::from_raw);
        // Without one (no descriptor is left) the next snapshot shows that the server has gone.
        let exit = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let (tasks, receiver) = channel();
        let thread = Thread { id, news: news.clone(), wake: Arc::clone(wake) };
        let choice = choice.clone();
        let name = format!("server-{}", seen.pid);
        thread::Builder::new()
            .name(name)
            .spawn(move || thread.observe(&seen, &choice, options, &receiver))?;
        Ok(Self {
            id,
            seen,
            identity: None,
            newest: None,
            prepared: None,
            begun: Instant::now(),
            pending: 0,
            busy: None,
            tasks,
            exit,
            probes: None,
        })
    }

    /// Hands out a task, unless it is at one that does not end.
    pub(super) fn request(&mut self, task: Task) -> bool {
        let sent = !self.is_stuck() && self.tasks.send(task).is_ok();
        if sent {
            self.pending += 1;
            self.busy.get_or_insert_with(Instant::now);
        }
        sent
    }

    /// It has done a task.
    pub(super) fn done(&mut self) {
        self.pending = self.pending.saturating_sub(1);
        self.busy = (self.pending > 0).then(Instant::now);
    }

    /// Whether it has probes and nothing to do.
    pub(super) const fn is_idle(&self) -> bool {
        self.identity.is_some() && self.pending == 0
    }

    /// Whether it has probes and so little to do that more is soon done.
    pub(super) const fn is_ready(&self) -> bool {
        self.identity.is_some() && self.pending < 2
    }

    fn is_stuck(&self) -> bool {
        /// No task takes so long, unless somebody wants it to.
        const STUCK: Duration = Duration::from_secs(30);
        self.busy.is_some_and(|since| since.elapsed() >= STUCK)
    }

    /// Whether it looks like a server of the machine's own.
    pub(super) fn is_likely(&self) -> bool {
        let known = self.identity.as_ref().map(|identity| identity.target.is_likely());
        known.unwrap_or_else(|| self.seen.is_likely())
    }

    /// Whose place it has.
    pub(super) fn tenant(&self) -> Tenant {
        let known = self.identity.as_ref().map(|identity| identity.target.user);
        Tenant { user: known.unwrap_or(self.seen.user), is_likely: self.is_likely() }
    }

    /// How long its list may take. A list takes some 9 ms a GiB of pool, and what the server has written is written out
    /// before; a server that does not look like the machine's own has no more than it needs.
    pub(super) fn patience(&self) -> Duration {
        if self.is_likely() {
            return Duration::from_secs(20);
        }
        let pool = self.identity.as_ref().map_or(0, |identity| identity.pool_bytes);
        Duration::from_secs(2) + Duration::from_millis(100 * (pool >> 30))
    }

    /// Ready once its process has ended.
    pub(super) fn exit(&self) -> Option<BorrowedFd<'_>> {
        self.exit.as_ref().map(|exit| exit.as_fd())
    }

    /// The probes are set, and gone when `probes` is ready.
    pub(super) fn attached(&mut self, identity: ServerIdentity, probes: Option<OwnedFd>) {
        (self.identity, self.probes) = (Some(identity), probes);
    }

    /// Ready once the probes are gone, and not by us.
    pub(super) fn probes(&self) -> Option<BorrowedFd<'_>> {
        self.probes.as_ref().map(|probes| probes.as_fd())
    }

    /// Makes the thread check its probes, which then reports that they are gone.
    pub(super) fn look_after_probes(&mut self) {
        // Once: one that is held finds out with its next task.
        self.probes = None;
        self.request(Task::Snapshot);
    }

    /// As the host gets it, once the probes are set.
    pub(super) fn served(&self) -> Option<Served> {
        let ServerIdentity { version, target, .. } = self.identity.as_ref()?;
        let Target { pid, user, unit, cwd, .. } = target;
        Some(Served {
            pid: *pid,
            version: version.as_str().into(),
            user: Text::of(user),
            unit: unit.as_deref().map(Text::new),
            datadir: Text::from_bytes(cwd.as_os_str().as_bytes()),
            observed: None,
        })
    }
}

/// The thread's own end.
struct Thread {
    id: u64,
    news: Sender<News>,
    wake: Arc<Wake>,
}

impl Drop for Thread {
    /// However it ends.
    fn drop(&mut self) {
        self.send(SessionEvent::Ended);
    }
}

impl Thread {
    fn send(&self, event: SessionEvent) {
        // There is no receiver any more when the agent ends.
        let _ = self.news.send(News(self.id, event));
        self.wake.set();
    }

    fn observe(
        &self,
        seen: &Sighting,
        choice: &Choice,
        options: ObserveOptions,
        tasks: &Receiver<Task>,
    ) {
        let target = match choice.rule.settle(seen) {
            Ok(target) => target,
            Err(error) => {
                // Who has gone or become another has failed at nothing.
                let is_passing =
                    matches!(error, TargetError::Gone { .. } | TargetError::Changed { .. });
                let is_other = matches!(error, TargetError::NotNamed { .. });
                let why = trouble(&error, error.hint().map(Text::from));
                let why = NotAttached { is_passing, is_other, ..NotAttached::because(why) };
                return self.send(SessionEvent::NotAttached(why));
            }
        };
        let mut observer = match Observer::attach(target.clone(), &choice.symbols, options) {
            Ok(observer) => observer,
            Err(error) => {
                // Who has gone meanwhile has failed at nothing.
                let is_passing = is_passing(&error) || !target.is_alive();
                let why = trouble(&error, error.hint().map(Text::from));
                let is_held = matches!(error, ObserveError::Probes(ProbesError::Held { .. }));
                let why = NotAttached { is_passing, is_held, ..NotAttached::because(why) };
                return self.send(SessionEvent::NotAttached(why));
            }
        };
        let server = observer.server();
        let (version, pool_bytes) = (server.version(), server.pool_map.frame_bytes());
        let identity = Box::new(ServerIdentity { target, version, pool_bytes });
        self.send(SessionEvent::Attached(identity, observer.probes().gone()));
        while let Ok(task) = tasks.recv() {
            let done = match task {
                Task::Snapshot => observer
                    .snapshot()
                    .map(|snapshot| SessionEvent::Snapshot(monotonic_ns(), snapshot)),
                Task::List(number) => Ok(SessionEvent::List(number, Box::new(list(&mut observer)))),
                Task::Prepare => {
                    match observer.prepare_list() {
                        Ok(list) => log::debug!("refreshed the list cache: {:?}", list.steps),
                        // Only the host's list matters, and it is not requested yet.
                        Err(error) => log::debug!("failed to refresh the list cache: {error}"),
                    }
                    Ok(SessionEvent::Prepared)
                }
            };
            match done {
                Ok(event) => self.send(event),
                Err(error) => {
                    let why = trouble(&error, error.hint().map(Text::from));
                    let has_exited = matches!(error, ObserveError::Exited { .. });
                    return self.send(SessionEvent::Lost(Loss { why, has_exited }));
                }
            }
        }
    }
}

/// Makes the list, of what the disk has.
fn list(observer: &mut Observer) -> Result<MadeList, Trouble> {
    let start = Instant::now();
    make_durable(observer.locator()).map_err(|error| trouble(&error, Some(error.hint().into())))?;
    let sync_s = start.elapsed().as_secs_f64();
    let built =
        observer.page_list().map_err(|error| trouble(&error, error.hint().map(Text::from)))?;
    Ok(MadeList { built, sync_s })
}

/// Whether the same server may be attached to in a moment.
fn is_passing(error: &ObserveError) -> bool {
    match error {
        ObserveError::Server(error) => error.is_passing(),
        ObserveError::PoolMap(error) => error.is_passing(),
        ObserveError::Exited { .. } => true,
        _ => false,
    }
}
