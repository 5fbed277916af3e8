//! The one server among the processes that a rule allows: a name proves nothing, so each of them is looked at.
//!
//! ```text
//! rule -> candidates, likely ones first -> Server::open on each, side by side -> one, or which ones
//! ```

use std::fmt;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use symbols::Options;
use thiserror::Error;

use crate::server::{Server, ServerError};
use crate::target::{Account, ServerRule, Sighting, Target, TargetError};
use crate::turns::Turns;

/// Most candidates that are looked at; of more, those that look least like servers are passed over.
const MOST: usize = 256;
/// Once one has proven itself, others that look like servers of the machine's own have so much longer than it needed, within
/// these limits, and all others the shortest.
const AS_LONG: u32 = 10;
const SHORTEST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(10);
/// Where none has, all of them have so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Candidates that an error names.
const NAMED: usize = 16;

/// There is not one server.
#[derive(Debug, Error)]
pub enum ChooseError {
    /// No process is allowed, or it cannot be looked at.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The only one is no server that can be observed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// None of several is.
    #[error("none of {} processes {rule} is a server that can be observed", failed.len())]
    None {
        /// What was looked for.
        rule: Box<ServerRule>,
        /// What is wrong with each; nothing where it was not found out in time.
        failed: Vec<(Target, Option<ServerError>)>,
    },
    /// Several are.
    #[error("{} servers are running", list.len())]
    Several {
        /// All of them.
        list: Vec<FoundServer>,
    },
}

impl ChooseError {
    /// Each of the processes that it is about, a line each; at most so many as a terminal shows.
    #[must_use]
    pub fn details(&self) -> Vec<String> {
        let mut lines: Vec<String> = match self {
            Self::Target(_) | Self::Server(_) => return Vec::new(),
            Self::None { failed, .. } => failed.iter().take(NAMED).map(reason).collect(),
            Self::Several { list } => list.iter().take(NAMED).map(FoundServer::to_string).collect(),
        };
        let all = match self {
            Self::None { failed, .. } => failed.len(),
            Self::Several { list } => list.len(),
            Self::Target(_) | Self::Server(_) => 0,
        };
        if all > lines.len() {
            lines.push(format!("and {} more", all - lines.len()));
        }
        lines
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Target(error) => error.hint().map(str::to_owned),
            Self::Server(error) => error.hint(),
            Self::None { .. } => {
                Some("`poolferry doctor --pid PID` shows what one of them lacks".to_owned())
            }
            Self::Several { .. } => Some(
                "choose one with --pid, or by --datadir, --user or --unit; one is shown at a time"
                    .to_owned(),
            ),
        }
    }
}

/// A server that has proven itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundServer {
    /// Its process id.
    pub pid: u32,
    /// Family and version, e.g. `mysql 5.6.24`.
    pub version: String,
    /// Who runs it.
    pub user: Account,
    /// Its systemd unit, where it has one.
    pub unit: Option<String>,
    /// Its data directory, as it sees it.
    pub datadir: PathBuf,
}

impl FoundServer {
    fn of(server: &Server) -> Self {
        let target = &server.target;
        Self {
            pid: target.pid,
            version: server.version(),
            user: target.user,
            unit: target.unit.clone(),
            datadir: target.cwd.clone(),
        }
    }
}

impl fmt::Display for FoundServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, version, user, unit, datadir } = self;
        let (unit, datadir) =
            (foreign::shown(unit.as_deref().unwrap_or("-")), foreign::path(datadir));
        let version = foreign::shown(version);
        write!(f, "--pid {pid:<8} {version}  user {user}  unit {unit}  datadir {datadir}")
    }
}

fn reason((target, why): &(Target, Option<ServerError>)) -> String {
    let why = why.as_ref().map_or_else(|| "not found out in time".to_owned(), causes);
    format!("--pid {:<8} user {}: {}", target.pid, target.user, foreign::shown(&why))
}

/// The error with its causes in one line.
fn causes(error: &ServerError) -> String {
    foreign::Chain(error).to_string()
}

/// The one process to look closer at: the only one that the rule allows, whatever it is, else the only one that proves
/// itself.
///
/// # Errors
/// When there is none, or more than one.
pub fn target(rule: &ServerRule, options: &Options) -> Result<Target, ChooseError> {
    match <[Target; 1]>::try_from(candidates(rule)?) {
        Ok([target]) => Ok(target),
        Err(several) => Ok(among(rule, several, options)?.target),
    }
}

/// The one server that the rule allows and that proves itself.
///
/// # Errors
/// When there is none, or more than one.
pub fn server(rule: &ServerRule, options: &Options) -> Result<Server, ChooseError> {
    match <[Target; 1]>::try_from(candidates(rule)?) {
        Ok([target]) => Ok(Server::open(target, options)?),
        Err(several) => among(rule, several, options),
    }
}

/// Those that the rule allows, after a closer look.
fn candidates(rule: &ServerRule) -> Result<Vec<Target>, TargetError> {
    let mut seen = rule.candidates()?;
    if seen.len() > MOST {
        log::warn!("{} processes {rule}: only {MOST} of them are looked at", seen.len());
        seen.truncate(MOST);
    }
    let (mut loaders, others): (Vec<_>, Vec<_>) =
        seen.into_iter().partition(|seen| seen.is_loader && rule.pids.is_empty());
    // One that is chosen alone shows why it cannot be looked at.
    let mut error = None;
    let mut found = Vec::new();
    for seen in others {
        match rule.settle(&seen) {
            Ok(target) => found.push(target),
            Err(why) => error = Some(why),
        }
    }
    let until = Instant::now() + SHORTEST;
    let (sender, settled) = channel();
    let mut turns = Turns::default();
    let mut open = 0_usize;
    while open > 0 || !loaders.is_empty() {
        loaders.retain(|seen| {
            let has_begun = turns.begin(seen.pid, seen.user) && settle(rule, *seen, &sender);
            open += usize::from(has_begun);
            !has_begun
        });
        match settled.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok((pid, target)) => {
                turns.end(&pid);
                open -= 1;
                found.extend(target);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    if found.is_empty() {
        return Err(error.unwrap_or_else(|| rule.none()));
    }
    found.sort_by_key(|target| (!target.is_likely(), target.started, target.pid));
    Ok(found)
}

/// Looks closer at a process that is called like a loader, in a thread of its own.
fn settle(rule: &ServerRule, seen: Sighting, settled: &Sender<(u32, Option<Target>)>) -> bool {
    let (rule, settled) = (rule.clone(), settled.clone());
    let look = move || drop(settled.send((seen.pid, rule.settle(&seen).ok())));
    thread::Builder::new().name("look".to_owned()).spawn(look).is_ok()
}

/// What a look at the candidate of this index has found.
type Seen = (usize, Result<Server, ServerError>);

fn among(
    rule: &ServerRule,
    targets: Vec<Target>,
    options: &Options,
) -> Result<Server, ChooseError> {
    let since = Instant::now();
    // When one had proven itself, and how much longer others then have.
    let mut proven: Option<(Instant, Duration)> = None;
    let (sender, seen) = channel();
    let mut turns = Turns::default();
    let mut waiting: Vec<usize> = (0..targets.len()).collect();
    let mut outcomes: Vec<Option<Result<Server, ServerError>>> =
        targets.iter().map(|_| None).collect();
    while outcomes.iter().any(Option::is_none) {
        waiting.retain(|&index| {
            let target = &targets[index];
            !(turns.begin(index, target.user) && look(index, target, options, &sender))
        });
        let is_open =
            |(target, outcome): (&Target, &Option<_>)| outcome.is_none() && target.is_likely();
        let has_likely = targets.iter().zip(&outcomes).any(is_open);
        let until = match proven {
            None => since + PATIENCE,
            Some((at, more)) => at + if has_likely { more } else { SHORTEST },
        };
        match seen.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok((index, outcome)) => {
                if outcome.is_ok() && proven.is_none() {
                    let more = (since.elapsed() * AS_LONG).clamp(SHORTEST, LONGEST);
                    proven = Some((Instant::now(), more));
                }
                turns.end(&index);
                outcomes[index] = Some(outcome);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    let (mut proven, mut failed) = (Vec::new(), Vec::new());
    for (target, outcome) in targets.into_iter().zip(outcomes) {
        match outcome {
            Some(Ok(server)) => proven.push(server),
            Some(Err(error)) => failed.push((target, Some(error))),
            None => failed.push((target, None)),
        }
    }
    for (target, why) in &failed {
        let why = why.as_ref().map_or_else(|| "not found out in time".to_owned(), causes);
        let why = foreign::shown(&why);
        log::info!("process {} of user {} is passed over: {why}", target.pid, target.user);
    }
    match <[Server; 1]>::try_from(proven) {
        Ok([server]) => Ok(server),
        Err(none) if none.is_empty() => {
            Err(ChooseError::None { rule: Box::new(rule.clone()), failed })
        }
        Err(several) => {
            Err(ChooseError::Several { list: several.iter().map(FoundServer::of).collect() })
        }
    }
}

/// Looks at a process in a thread of its own: one that does not end delays no other.
fn look(index: usize, target: &Target, options: &Options, seen: &Sender<Seen>) -> bool {
    let (target, options, seen) = (target.clone(), options.clone(), seen.clone());
    let look = move || drop(seen.send((index, Server::open(target, &options))));
    thread::Builder::new().name("look".to_owned()).spawn(look).is_ok()
}
