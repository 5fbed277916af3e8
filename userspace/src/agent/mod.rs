//! `poolferry agent`: answers the host while the VM runs, and while it moves.
//!
//! ```text
//! port (virtio-serial) ─ line ─> request ─> Agent::reply ─┬─ hello, status ──> snapshots of the pools
//!                                                   └─ page-list ──┐
//! servers (waits, attaches, loses, waits again) ─ a thread each ───┤
//!   durable (syncfs) ─> page list ─┐                               │
//!   durable (syncfs) ─> page list ─┴─> one list of all ─> pinned memory ─> its frames and hash ─> answer
//! ```
//! The list does not cross the port. It is written once, into pages that the kernel cannot move
//! (`pinned`), and the host reads it there; the reply has only frames and hash. A host that cannot read
//! the guest's RAM has the bytes copied.
//!
//! Nothing here ends but by a signal: a server that is not there yet, exits or is restarted, a port
//! that does not exist yet, a host that goes away in the middle of a line and another that comes, all
//! of these are states. One thread answers, and a request waits for the one before it; each server has a thread of its own,
//! so none of them keeps the others waiting.

mod choice;
mod durable;
mod exported_list;
mod failed;
mod finder;
pub mod migration;
mod pinned_buffer;
mod port;
mod probe_session;
mod quota;
mod servers;
mod status;
mod stop;
mod trouble;
mod wake;

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use foreign::Text;
use page_wire::MAX_DEVICES;
use page_wire::protocol::{
    AgentReply, AgentRequest, Copied, Hello, LineError, MAX_COPY_BYTES, MAX_LIST_BYTES,
    MAX_REPLY_BYTES, PageList, ReplyBody, RequestBody, Status, Trouble, VERSION, from_line,
    to_line,
};

pub use choice::Choice;
pub use port::{PortError, PortName};
pub use stop::Stop;

use crate::clock::monotonic_ns;
use crate::model::Snapshot;
use crate::observer::ObserveOptions;
use crate::page_list::{ListRoom, Union};
use exported_list::ExportedList;
use port::{Port, Received};
use servers::Servers;
use trouble::trouble;

/// How often snapshots are taken without requests: an audit now and then keeps the table honest.
const UNWATCHED_EVERY: Duration = Duration::from_secs(10);
/// A snapshot younger than this answers a request for the status.
const FRESH: Duration = Duration::from_millis(200);
/// A request for the status waits so long for newer ones.
const SNAPSHOTS_WITHIN: Duration = Duration::from_secs(1);
/// A list notes what it has judged, so that the next one reads only what has changed since: one is
/// made now and then without a request, and the host's comes sooner.
const PREPARE_EVERY: Duration = Duration::from_secs(30);
/// Nothing that takes long begins before a host that has just greeted, or requested a list, has been silent for
/// as long: it is about to request more.
const COURTESY: Duration = Duration::from_millis(500);
/// What a list may have: beyond, servers are left out whole.
const ROOM: ListRoom = ListRoom { devices: MAX_DEVICES, bytes: MAX_LIST_BYTES };

/// How to run.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// Which servers, and how to know them.
    pub choice: Choice,
    /// How to observe them.
    pub observe: ObserveOptions,
    /// Time between snapshots while somebody looks.
    pub refresh: Duration,
    /// Whether somebody looks at the snapshots even when no host is there.
    pub serves_metrics: bool,
}

/// Gets the newest snapshots of all servers that are observed.
type Show = Box<dyn FnMut(Vec<Arc<Snapshot>>) + Send>;

/// The agent.
pub struct Agent {
    options: AgentOptions,
    port: Port,
    servers: Servers,
    held: Option<ExportedList>,
    lists: u64,
    /// When the host last sent a request that it does not send all the time.
    spoken_to: Option<Instant>,
    show: Show,
}

impl Agent {
    /// An agent on a port, which need not exist yet; `show` gets the snapshots of all servers whenever there is a new
    /// one, or one is lost.
    ///
    /// # Errors
    /// When a socket cannot be listened on.
    pub fn new(
        port: PortName,
        options: AgentOptions,
        show: impl FnMut(Vec<Arc<Snapshot>>) + Send + 'static,
    ) -> Result<Self, PortError> {
        let servers = Servers::new(options.choice.clone(), options.observe);
        Ok(Self {
            port: Port::new(port)?,
            servers: servers.map_err(PortError::Descriptor)?,
            options,
            held: None,
            lists: 0,
            spoken_to: None,
            show: Box::new(show),
        })
    }

    /// Answers until it is stopped; then takes the probes out of the servers.
    pub fn run(mut self, stop: &Stop) {
        self.servers.until(stop);
        while !stop.is_set() {
            self.look();
            let others: Vec<_> = self.servers.descriptors().collect();
            match self.port.listen(self.pause(), stop, &others) {
                Received::Nothing => {}
                Received::Line(line) => {
                    let request = line.and_then(|line| from_line::<AgentRequest>(&line));
                    let answer = self.answer(&request, stop);
                    self.send(&answer, stop);
                    // Who reads the log may be slow, and the host waits.
                    note(&request, &answer);
                }
            }
        }
        // A thread that somebody holds keeps what the process has open, and the host would wait for an answer.
        drop(self.port);
        self.servers.end();
    }

    /// Everything that time brings: servers come and go, snapshots and lists grow old.
    fn look(&mut self) {
        self.servers.look();
        if let Some(snapshots) = self.servers.new_snapshots() {
            (self.show)(snapshots);
        }
        if self.held.as_ref().is_some_and(ExportedList::is_over) {
            log::warn!("the list was not released in time; its memory is freed");
            self.held = None;
        }
        if self.spoken_to.is_some_and(|at| at.elapsed() < COURTESY) {
            return;
        }
        let looked_at = self.options.serves_metrics || self.port.has_host();
        self.servers.refresh(if looked_at { self.options.refresh } else { UNWATCHED_EVERY });
        self.servers.prepare(PREPARE_EVERY);
    }

    /// How long nothing needs to be looked at.
    fn pause(&self) -> Duration {
        self.servers.pause().min(self.options.refresh).min(Duration::from_secs(1))
    }

    fn answer(&mut self, request: &Result<AgentRequest, LineError>, stop: &Stop) -> AgentReply {
        let request = match request {
            Ok(request) => request,
            Err(error) => {
                let hint = "host and guest need the same version of Poolferry";
                let what = ReplyBody::Error(trouble(error, Some(hint.into())));
                return AgentReply { id: 0, body: what };
            }
        };
        if !matches!(request.body, RequestBody::Status | RequestBody::Migration(_)) {
            self.spoken_to = Some(Instant::now());
        }
        AgentReply {
            id: request.id,
            body: self.reply(&request.body, stop).unwrap_or_else(ReplyBody::Error),
        }
    }

    fn reply(&mut self, what: &RequestBody, stop: &Stop) -> Result<ReplyBody, Trouble> {
        match *what {
            RequestBody::Hello { .. } => Ok(ReplyBody::Hello(self.hello())),
            RequestBody::PageList => self.page_list(stop),
            RequestBody::Copy { list, offset, len } => {
                self.copy(list, offset, len).map(ReplyBody::Copied)
            }
            RequestBody::Release { list } => {
                self.held.take_if(|held| held.number == list);
                Ok(ReplyBody::Released)
            }
            RequestBody::Status => Ok(ReplyBody::Status(Box::new(self.status(stop)))),
            RequestBody::Migration(telemetry) => {
                migration::note(&telemetry).map_err(|error| trouble(&error, None))?;
                Ok(ReplyBody::Noted)
            }
        }
    }

    fn hello(&mut self) -> Hello {
        self.servers.look();
        let kernel = Text::from_bytes(rustix::system::uname().release().to_bytes());
        Hello {
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            kernel,
            server: self.servers.state(),
            servers: self.servers.served(),
        }
    }

    fn page_list(&mut self, stop: &Stop) -> Result<ReplyBody, Trouble> {
        self.held = None;
        let start = Instant::now();
        self.servers.look();
        if let Some(passing) = self.servers.awaited() {
            return Err(passing);
        }
        self.lists += 1;
        let made = self.servers.lists(self.lists, stop)?;
        let sync_s = made.iter().map(|(_, made)| made.sync_s).fold(0.0, f64::max);
        let (mut pids, lists): (Vec<u32>, Vec<_>) =
            made.into_iter().map(|(pid, made)| (pid, made.built)).unzip();
        let (union, without) = Union::of(lists, ROOM);
        for index in without.into_iter().rev() {
            log::warn!("no room for the pages of process {}: they are sent", pids.remove(index));
        }
        let (held, list) = ExportedList::make(self.lists, union, sync_s, start)
            .map_err(|error| trouble(&error, error.hint().map(Text::from)))?;
        self.held = Some(held);
        Ok(ReplyBody::PageList(Box::new(PageList { servers: pids, ..list })))
    }

    fn copy(&self, list: u64, offset: u64, len: u32) -> Result<Copied, Trouble> {
        let held = self.held.as_ref().filter(|held| held.number == list);
        let held = held.ok_or_else(|| {
            let hint = Some("ask for a new list".into());
            Trouble::new(format!("list {list} is no longer exported"), hint)
        })?;
        let piece = (len <= MAX_COPY_BYTES).then(|| held.piece(offset, len)).flatten();
        let piece = piece.ok_or_else(|| {
            let what = "are not in the list, or too many at once";
            Trouble::new(format!("{len} bytes from {offset} {what}"), None)
        })?;
        Ok(Copied { offset, data: STANDARD.encode(piece) })
    }

    fn status(&mut self, stop: &Stop) -> Status {
        self.servers.look();
        self.servers.refresh_now(FRESH, Instant::now() + SNAPSHOTS_WITHIN, stop);
        let newest = self.servers.newest();
        let mut servers = self.servers.served();
        for served in &mut servers {
            let own = newest.iter().find(|(pid, _)| *pid == served.pid);
            served.observed = own.map(|(_, own)| Box::new(status::observed(own.ns, &own.snapshot)));
        }
        let all = servers.iter().filter_map(|served| served.observed.as_deref());
        Status {
            now_ns: monotonic_ns(),
            server: self.servers.state(),
            observed: status::sum(all).map(Box::new),
            list: self.held.as_ref().map(|held| held.number),
            servers,
        }
    }

    /// The host notices trouble with the port, and repeats its request.
    fn send(&mut self, answer: &AgentReply, stop: &Stop) {
        let line = to_line(answer, MAX_REPLY_BYTES).or_else(|error| {
            let what = ReplyBody::Error(trouble(&error, None));
            to_line(&AgentReply { id: answer.id, body: what }, MAX_REPLY_BYTES)
        });
        match line {
            Ok(line) => self.port.send(&line, stop),
            Err(error) => log::error!("failed to write an answer: {error}"),
        }
    }
}

/// Logs request and reply.
fn note(request: &Result<AgentRequest, LineError>, answer: &AgentReply) {
    if let Ok(request) = request {
        log::debug!("request {:?}", request.body);
    }
    match &answer.body {
        ReplyBody::PageList(list) => log::info!(
            "list {} of {} pages of {} servers, {} bytes, in {:.3} s",
            list.list,
            list.pages,
            list.servers.len(),
            list.length,
            list.steps.total_s
        ),
        ReplyBody::Error(trouble) => log::warn!("{}", trouble.what),
        _ => {}
    }
}
