//! A keeper, as the one who has it made sees it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use aya::maps::{Map, MapData, MapError};

use crate::child::{is_program, keep};
use crate::error::{KeeperError, RemoteCause};
use crate::holder::Holder;
use crate::maker::{self, KeeperProcess};
use crate::message::{KeeperReply, Order, ProbePoint};
use crate::object::ObjectSettings;
use crate::pair::Pair;

/// How long a keeper may take to start and to load its programs, on a machine that is short of everything.
const LOADING: Duration = Duration::from_secs(60);
/// How long the answer with the run time may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// How long it may take to take the probes out. The kernel goes on with it.
const ENDING: Duration = Duration::from_secs(10);

/// All that may still have probes.
static ALL: Mutex<Vec<Weak<Line>>> = Mutex::new(Vec::new());
/// Whether new ones are refused.
static IS_OVER: AtomicBool = AtomicBool::new(false);

/// What the end needs of a keeper that somebody else has.
#[derive(Debug)]
struct Line {
    pair: Pair,
    /// Of the process that is probed.
    pid: u32,
    /// The keeper's own; none where it is a thread.
    keeper: OnceLock<u32>,
}

/// The probes of one process, kept by another process of ours. Dropped, they are taken out.
#[derive(Debug)]
pub struct Keeper {
    line: Arc<Line>,
    made: Option<KeeperProcess>,
    maps: BTreeMap<String, OwnedFd>,
    programs: Vec<u32>,
}

impl Keeper {
    /// Starts one for process `pid`, and has it load programs of an object. No probe is set yet.
    ///
    /// # Errors
    /// When it cannot be started, or the kernel refuses maps or programs.
    pub fn load(
        pid: u32,
        object: &'static [u8],
        settings: &ObjectSettings,
        programs: &[&str],
    ) -> Result<Self, KeeperError> {
        let (ours, theirs) = Pair::new().map_err(KeeperError::Start)?;
        let line = Arc::new(Line { pair: ours, pid, keeper: OnceLock::new() });
        {
            let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
            if IS_OVER.load(Ordering::SeqCst) {
                return Err(KeeperError::Start(io::ErrorKind::Interrupted.into()));
            }
            all.retain(|line| line.strong_count() > 0);
            all.push(Arc::downgrade(&line));
        }
        let made = begin(theirs, object).map_err(KeeperError::Start)?;
        if let Some(made) = &made {
            let _ = line.keeper.set(made.child.id());
        }
        let (maps, none) = (BTreeMap::new(), Vec::new());
        let mut keeper = Self { line, made, maps, programs: none };
        match keeper.receive(Some(LOADING))?.0 {
            KeeperReply::Ready => {}
            _ => return Err(KeeperError::Protocol),
        }
        let programs = programs.iter().map(|name| (*name).to_owned()).collect();
        keeper.send(&Order::Load { settings: settings.clone(), programs }, &[])?;
        let (KeeperReply::Loaded { maps, programs }, files) = keeper.receive(Some(LOADING))? else {
            return Err(KeeperError::Protocol);
        };
        if maps.len() != files.len() {
            return Err(KeeperError::Protocol);
        }
        keeper.maps = maps.into_iter().zip(files).collect();
        keeper.programs = programs;
        Ok(keeper)
    }

    /// Has it set probes at these sites of the file `text`; waits for as long as the kernel does, or `limit`. `waits` is called
    /// when that takes long, with who it is that the kernel waits for, where that is known.
    ///
    /// # Errors
    /// When a process would be waited for, the kernel refuses a site, or the limit is reached. None is set then.
    pub fn attach(
        &mut self,
        text: BorrowedFd<'_>,
        sites: Vec<ProbePoint>,
        limit: Option<Duration>,
        waits: impl Fn(Option<Holder>),
    ) -> Result<(), KeeperError> {
        self.send(&Order::Attach { pid: self.line.pid, sites }, &[text])?;
        let until = limit.map(|limit| Instant::now() + limit);
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            match self.receive(left)?.0 {
                KeeperReply::Attached => return Ok(()),
                KeeperReply::Waits(holder) => waits(holder),
                _ => return Err(KeeperError::Protocol),
            }
        }
    }

    /// A map of the object, to be mapped or read by number.
    ///
    /// # Errors
    /// When the object has none of this name.
    pub fn map(&self, name: &str) -> Result<BorrowedFd<'_>, KeeperError> {
        self.maps.get(name).map(|file| file.as_fd()).ok_or_else(|| missing(name))
    }

    /// Takes a map of the object.
    ///
    /// # Errors
    /// When the object has none of this name and kind, or it was taken before.
    pub fn take<M: TryFrom<Map, Error = MapError>>(
        &mut self,
        name: &str,
    ) -> Result<M, KeeperError> {
        let file = self.maps.remove(name).ok_or_else(|| missing(name))?;
        let map = MapData::from_fd(file).and_then(Map::from_map_data).and_then(M::try_from);
        map.map_err(|error| KeeperError::Map {
            map: name.to_owned(),
            source: RemoteCause::of(&error),
        })
    }

    /// The numbers of its programs, as the kernel knows them.
    #[must_use]
    pub fn programs(&self) -> &[u32] {
        &self.programs
    }

    /// Run time in ns and number of runs of all programs, where the kernel counts them.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn run_time(&self) -> Result<(u64, u64), KeeperError> {
        self.send(&Order::RunTime, &[])?;
        match self.receive(Some(ANSWER_LIMIT))?.0 {
            KeeperReply::RunTime(ns, runs) => Ok((ns, runs)),
            _ => Err(KeeperError::Protocol),
        }
    }

    /// Whether it still keeps the probes.
    ///
    /// # Errors
    /// [`KeeperError::Ended`].
    pub fn check(&self) -> Result<(), KeeperError> {
        if self.line.pair.is_ended() { Err(self.ended()) } else { Ok(()) }
    }

    /// A descriptor that is readable once it has ended; none where it is a thread.
    #[must_use]
    pub fn exit(&self) -> Option<OwnedFd> {
        self.made.as_ref()?.exit.as_ref()?.try_clone().ok()
    }

    fn send(&self, order: &Order, files: &[BorrowedFd<'_>]) -> Result<(), KeeperError> {
        self.line.pair.send(order, files).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => self.ended(),
            _ => KeeperError::Start(error),
        })
    }

    fn receive(&self, limit: Option<Duration>) -> Result<(KeeperReply, Vec<OwnedFd>), KeeperError> {
        if let Some(limit) = limit
            && !self.line.pair.wait(limit)
        {
            return Err(KeeperError::Late { limit });
        }
        match self.line.pair.receive() {
            Ok(Some((KeeperReply::Failed(error), _))) => Err(error.into()),
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(self.ended()),
            Err(error) => Err(KeeperError::Start(error)),
        }
    }

    /// What is known of its end.
    fn ended(&self) -> KeeperError {
        let exit = self.made.as_ref().and_then(|made| made.exit.as_ref());
        let how = exit.and_then(|exit| {
            let id = rustix::process::WaitId::PidFd(exit.as_fd());
            use rustix::process::WaitIdOptions as Options;
            // Looked at, not reaped.
            let options = Options::EXITED | Options::NOWAIT | Options::NOHANG;
            let status = rustix::process::waitid(id, options).ok()??;
            let signal = status.terminating_signal().map(|signal| format!(" (signal {signal})"));
            signal.or_else(|| Some(format!(" (status {})", status.exit_status()?)))
        });
        KeeperError::Ended { how: how.unwrap_or_default() }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let until = Instant::now() + ENDING;
        self.line.pair.close();
        let left = || until.saturating_duration_since(Instant::now());
        let has_ended = self.line.pair.wait_for_end(left());
        if let Some(KeeperProcess { mut child, .. }) = self.made.take() {
            // It closes its socket a little before it is gone.
            while matches!(child.try_wait(), Ok(None)) {
                if left().is_zero() {
                    maker::leave(child);
                    break;
                }
                thread::sleep(Duration::from_millis(1));
            }
        }
        if !has_ended {
            log::warn!("{}", still(self.line.pid));
        }
    }
}

fn still(pid: u32) -> String {
    format!(
        "the kernel still takes probes out of process {pid}: it waits until every process that maps its program lets go of its \
         memory map"
    )
}

fn missing(map: &str) -> KeeperError {
    #[derive(Debug, thiserror::Error)]
    #[error("not in the object")]
    struct NotInObject;
    KeeperError::Map { map: map.to_owned(), source: RemoteCause::of(&NotInObject) }
}

/// Starts a keeper with its end of the sockets.
fn begin(socket: OwnedFd, object: &'static [u8]) -> io::Result<Option<KeeperProcess>> {
    if is_program() {
        return maker::make(socket).map(Some);
    }
    let pair = Pair::of(socket);
    let keep = move || drop(keep(&pair, object));
    thread::Builder::new().name("keeper".to_owned()).spawn(keep)?;
    Ok(None)
}

/// The processes that keep probes of this program's, or have not been seen to end.
#[must_use]
pub fn processes() -> Vec<u32> {
    let lines = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = lines.iter().filter_map(|line| line.upgrade()?.keeper.get().copied());
    kept.chain(maker::left()).collect()
}

/// At the end of the program: makes all keepers remove their probes, whoever has them, and waits for that; there are none
/// after. The probed processes of those that the kernel holds for longer than `limit`.
pub fn end_all(limit: Duration) -> Vec<u32> {
    let lines: Vec<Arc<Line>> = {
        let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        IS_OVER.store(true, Ordering::SeqCst);
        all.iter().filter_map(Weak::upgrade).collect()
    };
    let until = Instant::now() + limit;
    lines.iter().for_each(|line| line.pair.close());
    let has_not_ended =
        |line: &Arc<Line>| !line.pair.wait_for_end(until.saturating_duration_since(Instant::now()));
    let left: Vec<u32> = lines.into_iter().filter(has_not_ended).map(|line| line.pid).collect();
    left.iter().for_each(|pid| log::warn!("{}", still(*pid)));
    left
}
