//! `poolferry agent`: answers the host while the VM runs, and while it moves.
//!
//! ```text
//! port (virtio-serial) ─ line ─> ask ─> Agent::say ─┬─ hello, status ──> picture of the pool
//!                                                   └─ page-list ──┐
//! server (waits, attaches, loses, waits again) ─ Observer ─────────┤
//!            durable (syncfs) ─> page list ─> pinned memory ─> its frames and hash ─> answer
//! ```
//! The list does not cross the port. It is written once, into pages that the kernel cannot move
//! (`pinned`), and the host reads it there; only frames and hash are told. A host that cannot read
//! the guest's RAM has the bytes copied.
//!
//! Nothing here ends but by a signal: a server that is not there yet, exits or is restarted, a port
//! that does not exist yet, a host that goes away in the middle of a line and another that comes, all
//! of these are states. One thread owns the probes and answers; an ask waits for the one before it.

mod durable;
mod held;
pub mod migration;
mod pinned;
mod port;
mod status;
mod stop;
mod watched;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use foreign::Text;
use page_wire::ask::{
    Answer, Ask, Copied, Hello, LineError, MAX_ANSWER_BYTES, MAX_COPY_BYTES, Said, Status, Trouble,
    VERSION, What, from_line, to_line,
};

pub use port::{PortError, PortName};
pub use stop::Stop;
pub use watched::Choice;

use crate::clock::monotonic_ns;
use crate::model::Picture;
use crate::observer::ObserveOptions;
use held::Held;
use port::{Heard, Port};
use watched::Watched;

/// How often pictures are taken while nobody looks: an audit now and then keeps the table honest.
const UNWATCHED_EVERY: Duration = Duration::from_secs(10);
/// A picture younger than this answers an ask for the status.
const FRESH: Duration = Duration::from_millis(200);
/// A list notes what it has judged, so that the next one reads only what has changed since: one is
/// made now and then for nobody, and the host's comes sooner.
const PREPARE_EVERY: Duration = Duration::from_secs(30);
/// Nothing that takes long begins before a host that has just greeted, or asked for a list, has been silent for
/// as long: it is about to ask for more.
const COURTESY: Duration = Duration::from_millis(500);
/// An ask for a list waits so long for probes that are being set.
const ATTACH_PATIENCE: Duration = Duration::from_secs(5);

/// How to run.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// Which server, and how to know it.
    pub choice: Choice,
    /// How to observe it.
    pub observe: ObserveOptions,
    /// Time between pictures while somebody looks.
    pub refresh: Duration,
    /// Whether somebody looks at the pictures even when no host is there.
    pub watched: bool,
}

/// Gets each new picture, and nothing while no server is observed.
type Show = Box<dyn FnMut(Option<&Arc<Picture>>) + Send>;

/// The agent.
pub struct Agent {
    options: AgentOptions,
    port: Port,
    server: Watched,
    held: Option<Held>,
    lists: u64,
    newest: Option<(Instant, u64, Arc<Picture>)>,
    prepared: Option<Instant>,
    /// When the host last asked for something that it does not ask all the time.
    spoken_to: Option<Instant>,
    show: Show,
}

impl Agent {
    /// An agent on a port, which need not exist yet; `show` gets each new picture, and `None` once the
    /// server is lost.
    ///
    /// # Errors
    /// When a socket cannot be listened on.
    pub fn new(
        port: PortName,
        options: AgentOptions,
        show: impl FnMut(Option<&Arc<Picture>>) + Send + 'static,
    ) -> Result<Self, PortError> {
        Ok(Self {
            port: Port::new(port)?,
            server: Watched::new(options.choice.clone(), options.observe),
            options,
            held: None,
            lists: 0,
            newest: None,
            prepared: None,
            spoken_to: None,
            show: Box::new(show),
        })
    }

    /// Answers until told to stop. Dropping the agent takes the probes out of the server.
    pub fn run(mut self, stop: &Stop) {
        while !stop.is_set() {
            self.look();
            match self.port.listen(self.pause(), stop) {
                Heard::Nothing => {}
                Heard::Line(line) => {
                    let ask = line.and_then(|line| from_line::<Ask>(&line));
                    let answer = self.answer(&ask);
                    self.send(&answer, stop);
                    // Who reads the log may be slow, and the host waits.
                    note(&ask, &answer);
                }
            }
        }
    }

    /// Everything that time brings: the server comes and goes, pictures and lists grow old.
    fn look(&mut self) {
        self.server.look();
        if self.held.as_ref().is_some_and(Held::is_over) {
            log::warn!("the list was not released in time; its pages are given back");
            self.held = None;
        }
        if self.spoken_to.is_some_and(|at| at.elapsed() < COURTESY) {
            return;
        }
        let looked_at = self.options.watched || self.port.has_host();
        let every = if looked_at { self.options.refresh } else { UNWATCHED_EVERY };
        if self.newest.as_ref().is_none_or(|(taken, ..)| taken.elapsed() >= every) {
            self.take_picture();
        }
        if self.prepared.is_none_or(|prepared| prepared.elapsed() >= PREPARE_EVERY) {
            self.prepare();
        }
    }

    /// Makes a list for nobody.
    fn prepare(&mut self) {
        let Ok(observer) = self.server.observer() else {
            self.prepared = None;
            return;
        };
        match observer.page_list() {
            Ok(list) => log::debug!("prepared a list: {:?}", list.steps),
            // It is the host's list that matters, and it is not asked for yet.
            Err(error) => log::debug!("a list for nobody failed: {error}"),
        }
        self.prepared = Some(Instant::now());
    }

    /// How long nothing needs to be looked at.
    fn pause(&self) -> Duration {
        self.server.pause().min(self.options.refresh).min(Duration::from_secs(1))
    }

    fn take_picture(&mut self) {
        match self.server.observer().map(|observer| observer.picture()) {
            Ok(Ok(picture)) => {
                (self.show)(Some(&picture));
                self.newest = Some((Instant::now(), monotonic_ns(), picture));
            }
            Ok(Err(error)) => {
                self.forget_picture();
                self.prepared = None;
                self.server.lose(&error);
            }
            Err(_) => self.forget_picture(),
        }
    }

    /// No server is observed: nobody is to take its last picture for one of now.
    fn forget_picture(&mut self) {
        self.newest = None;
        (self.show)(None);
    }

    fn answer(&mut self, ask: &Result<Ask, LineError>) -> Answer {
        let ask = match ask {
            Ok(ask) => ask,
            Err(error) => {
                let hint = "host and guest need the same version of Poolferry";
                let what = Said::Error(trouble(error, Some(hint.into())));
                return Answer { id: 0, what };
            }
        };
        if !matches!(ask.what, What::Status | What::Migration(_)) {
            self.spoken_to = Some(Instant::now());
        }
        Answer { id: ask.id, what: self.say(&ask.what).unwrap_or_else(Said::Error) }
    }

    fn say(&mut self, what: &What) -> Result<Said, Trouble> {
        match *what {
            What::Hello { .. } => Ok(Said::Hello(self.hello())),
            What::PageList => self.page_list(),
            What::Copy { list, offset, len } => self.copy(list, offset, len).map(Said::Copied),
            What::Release { list } => {
                self.held.take_if(|held| held.number == list);
                Ok(Said::Released)
            }
            What::Status => Ok(Said::Status(Box::new(self.status()))),
            What::Migration(told) => {
                migration::note(&told).map_err(|error| trouble(&error, None))?;
                Ok(Said::Noted)
            }
        }
    }

    fn hello(&self) -> Hello {
        let kernel = Text::from_bytes(rustix::system::uname().release().to_bytes());
        Hello {
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            kernel,
            server: self.server.state(),
        }
    }

    fn page_list(&mut self) -> Result<Said, Trouble> {
        self.held = None;
        self.server.wait(ATTACH_PATIENCE);
        let observer = self.server.observer()?;
        self.lists += 1;
        match Held::make(self.lists, observer) {
            Ok((held, told)) => {
                self.held = Some(held);
                Ok(Said::PageList(Box::new(told)))
            }
            Err(error) => {
                let trouble = trouble(&error, error.hint().map(Text::from));
                // Should the server have gone, the next picture shows it.
                self.newest = None;
                Err(trouble)
            }
        }
    }

    fn copy(&self, list: u64, offset: u64, len: u32) -> Result<Copied, Trouble> {
        let held = self.held.as_ref().filter(|held| held.number == list);
        let held = held.ok_or_else(|| Trouble {
            what: format!("list {list} is not held any more").into(),
            hint: Some("ask for a new list".into()),
        })?;
        let piece = (len <= MAX_COPY_BYTES).then(|| held.piece(offset, len)).flatten();
        let piece = piece.ok_or_else(|| Trouble {
            what: format!("{len} bytes from {offset} are not in the list, or too many at once")
                .into(),
            hint: None,
        })?;
        Ok(Copied { offset, data: STANDARD.encode(piece) })
    }

    fn status(&mut self) -> Status {
        if self.newest.as_ref().is_none_or(|(taken, ..)| taken.elapsed() >= FRESH) {
            self.take_picture();
        }
        let observed = self.newest.as_ref();
        Status {
            now_ns: monotonic_ns(),
            server: self.server.state(),
            observed: observed.map(|(_, ns, picture)| Box::new(status::observed(*ns, picture))),
            list: self.held.as_ref().map(|held| held.number),
        }
    }

    /// Trouble with the port is the host's to notice: it asks again, or another one does.
    fn send(&mut self, answer: &Answer, stop: &Stop) {
        let line = to_line(answer, MAX_ANSWER_BYTES).or_else(|error| {
            let what = Said::Error(trouble(&error, None));
            to_line(&Answer { id: answer.id, what }, MAX_ANSWER_BYTES)
        });
        match line {
            Ok(line) => self.port.send(&line, stop),
            Err(error) => log::error!("failed to write an answer: {error}"),
        }
    }
}

/// Logs what was asked and answered.
fn note(ask: &Result<Ask, LineError>, answer: &Answer) {
    if let Ok(ask) = ask {
        log::debug!("asked {:?}", ask.what);
    }
    match &answer.what {
        Said::PageList(told) => log::info!(
            "list {} of {} pages, {} bytes, in {:.3} s",
            told.list,
            told.pages,
            told.length,
            told.steps.total_s
        ),
        Said::Error(trouble) => log::warn!("{}", trouble.what),
        _ => {}
    }
}

/// The error with its causes in one line, and what to do.
fn trouble(error: &(dyn Error + 'static), hint: Option<Text>) -> Trouble {
    Trouble { what: Text::of(&foreign::Chain(error)), hint }
}
