//! The server as it comes and goes: waited for, attached to, lost, waited for again.
//!
//! ```text
//! waiting ─ a process of the name ─> attaching (a thread) ─ probes set ─> attached
//!    ^                                   │ failed                            │ exited, or failed
//!    └──────────── pause, longer each time ┴─────────────────────────────────┘
//! ```

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use foreign::Text;
use page_wire::ask::{ServerState, Trouble};

use super::trouble;
use crate::choose::{self, ChooseError};
use crate::observer::{ObserveError, ObserveOptions, Observer};
use crate::target::Rule;

/// Time until a server is looked for again, at first and after many failures.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often the thread that attaches is asked.
const ATTACHING_PAUSE: Duration = Duration::from_millis(100);

/// Which server, and how to know it.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Which processes may be it.
    pub rule: Rule,
    /// Where symbols are looked for.
    pub symbols: symbols::Options,
}

/// The server in whatever state it is.
pub(super) struct Watched {
    choice: Choice,
    options: ObserveOptions,
    state: State,
    /// After so many failures in a row.
    pause: Duration,
    /// What was last said of a server that is not there.
    said: Option<Trouble>,
}

enum State {
    Waiting { why: Trouble, until: Instant },
    Attaching { pid: u32, done: Receiver<Result<Box<Observer>, AttachError>> },
    Attached(Box<Observer>),
}

/// No server was attached to.
#[derive(Debug, thiserror::Error)]
enum AttachError {
    #[error(transparent)]
    Choose(#[from] ChooseError),
    #[error(transparent)]
    Observe(#[from] ObserveError),
}

impl AttachError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Choose(error) => error.hint(),
            Self::Observe(error) => error.hint(),
        }
    }
}

impl Watched {
    pub(super) fn new(choice: Choice, options: ObserveOptions) -> Self {
        let why = Trouble { what: "no server was looked for yet".into(), hint: None };
        let state = State::Waiting { why, until: Instant::now() };
        Self { choice, options, state, pause: PAUSE, said: None }
    }

    /// Goes on to the next state where it is time.
    pub(super) fn look(&mut self) {
        match &self.state {
            State::Waiting { until, .. } if Instant::now() >= *until => self.begin(),
            State::Attaching { .. } => self.wait(Duration::ZERO),
            State::Waiting { .. } | State::Attached(_) => {}
        }
    }

    /// How long [`look`](Self::look) would change nothing.
    pub(super) fn pause(&self) -> Duration {
        match &self.state {
            State::Waiting { until, .. } => until.saturating_duration_since(Instant::now()),
            State::Attaching { .. } => ATTACHING_PAUSE,
            State::Attached(_) => Duration::MAX,
        }
    }

    /// Looks for the server and, when it is there, begins to attach.
    fn begin(&mut self) {
        let pid = match self.choice.rule.candidates() {
            Ok(candidates) => candidates.first().map_or(0, |target| target.pid),
            Err(error) => {
                // Nothing has failed: it may start at any moment.
                self.pause = PAUSE;
                return self.wait_because(trouble(&error, error.hint().map(Text::from)));
            }
        };
        let (choice, options) = (self.choice.clone(), self.options);
        let (sender, done) = channel();
        // Minutes pass until large debug information is read, and asks are answered meanwhile.
        let attach = move || {
            let attached = choose::server(&choice.rule, &choice.symbols)
                .map_err(AttachError::from)
                .and_then(|server| Ok(Box::new(Observer::on(server, options)?)));
            // Nobody waits any more when the agent ends.
            let _ = sender.send(attached);
        };
        match thread::Builder::new().name("attach".to_owned()).spawn(attach) {
            Ok(_) => self.state = State::Attaching { pid, done },
            Err(error) => self.fail(trouble(&error, None)),
        }
    }

    /// While the probes are being set, waits for that, but no longer than `limit`.
    pub(super) fn wait(&mut self, limit: Duration) {
        let State::Attaching { pid, done } = &self.state else { return };
        let pid = *pid;
        match done.recv_timeout(limit) {
            Ok(Ok(observer)) => {
                log::info!("attached to {} (pid {pid})", observer.server().version());
                self.pause = PAUSE;
                self.said = None;
                self.state = State::Attached(observer);
            }
            Ok(Err(error)) => self.fail(trouble(&error, error.hint().map(Text::from))),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let what = format!("attaching to process {pid} ended early").into();
                self.fail(Trouble { what, hint: None });
            }
        }
    }

    /// The probes, while they are set.
    pub(super) fn observer(&mut self) -> Result<&mut Observer, Trouble> {
        match &mut self.state {
            State::Attached(observer) => Ok(observer),
            State::Attaching { pid, .. } => Err(Trouble {
                what: format!("probes are being set in process {pid}").into(),
                hint: Some("ask again in a few seconds".into()),
            }),
            State::Waiting { why, .. } => Err(why.clone()),
        }
    }

    /// The observer has failed: detaches, and looks for the server anew.
    pub(super) fn lose(&mut self, error: &ObserveError) {
        let trouble = trouble(error, error.hint().map(Text::from));
        match error {
            // A restart is no failure.
            ObserveError::Exited { .. } => self.wait_because(trouble),
            _ => self.fail(trouble),
        }
    }

    fn fail(&mut self, why: Trouble) {
        self.wait_because(why);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn wait_because(&mut self, why: Trouble) {
        if self.said.as_ref() != Some(&why) {
            let hint = why.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            log::warn!("waiting for a server: {}{hint}", why.what);
            self.said = Some(why.clone());
        }
        self.state = State::Waiting { why, until: Instant::now() + self.pause };
    }

    /// As the host is told.
    pub(super) fn state(&self) -> ServerState {
        match &self.state {
            State::Waiting { why, .. } => {
                ServerState::Waiting { why: why.what.clone(), hint: why.hint.clone() }
            }
            State::Attaching { pid, .. } => ServerState::Attaching { pid: *pid },
            State::Attached(observer) => {
                let server = observer.server();
                ServerState::Attached { pid: server.target.pid, version: server.version().into() }
            }
        }
    }
}
