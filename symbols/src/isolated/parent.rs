//! The process that has the rights, and waits for the answer.

use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::str::FromStr as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::Signal;

use super::line::{ChildMessage, MessageError};
use super::message::{ChildRequest, Given, ParentReply, ParseRequest};
use super::{COMMAND, ChildLimits, IsolatedError, Isolation};
use crate::budget::{Budget, Charge};
use crate::debug_file::DebugFileRefusal;
use crate::debug_file::files::{FileProvider, LocalFiles};
use crate::debug_file::link::BuildId;
use crate::elf::{FileSnapshot, SnapshotError};
use crate::ends::Ends;
use crate::error::Error;
use crate::options::Options;
use crate::path_text::SentPath;
use crate::read::Read;

/// Most log records that are passed on; a million broken units must not fill a disk.
const MAX_LOG_RECORDS: usize = 20;

/// Most bytes that are kept of what the child says at its end.
const MAX_LAST_WORDS: u64 = 2000;

/// How long a child that has closed its socket is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The child, which does not outlive the wait for it.
struct Reader<'a> {
    child: Child,
    line: ChildMessage,
    limits: ChildLimits,
    ends: &'a Ends,
    deadline: Instant,
    /// Records that were passed on, and those that were not.
    logged: usize,
    /// Bytes of files that were handed out.
    given: u64,
    /// What these take: the child may have all of them until it ends.
    held: Vec<Charge>,
}

/// What a program is read with.
pub(crate) struct ReadJob<'a> {
    /// For messages.
    pub(crate) path: &'a Path,
    pub(crate) program: FileSnapshot,
    pub(crate) budget: Budget,
    pub(crate) files: &'a LocalFiles,
    pub(crate) options: &'a Options,
}

impl Isolation {
    /// Has a program and the files that belong to it read by another process.
    pub(crate) fn read(&self, job: &ReadJob<'_>) -> Result<Read, Error> {
        let mut reader = self.start(&job.options.ends).map_err(Box::new)?;
        let read = match reader.converse(job) {
            Ok(read) => read?,
            Err(error) => return Err(Box::new(reader.explain(error)).into()),
        };
        let binary = &read.profile.binary;
        let hash = job.program.hash().to_hex();
        let checked = match read.profile.check() {
            _ if binary.content_hash.as_deref() != Some(hash.as_str())
                || binary.size != job.program.size() =>
            {
                Err("its answer is of another program".to_owned())
            }
            checked => checked.map_err(|error| error.to_string()),
        };
        checked.map_err(|what| Box::new(IsolatedError::protocol(what)))?;
        Ok(read)
    }

    fn start<'a>(&self, ends: &'a Ends) -> Result<Reader<'a>, IsolatedError> {
        let failed = |error: std::io::Error| IsolatedError::Start(error.into());
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .map_err(|error| failed(error.into()))?;
        let child = Command::new(&self.program)
            .arg0("poolferry")
            .arg(COMMAND)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        Ok(Reader {
            child,
            line: ChildMessage::new(ours),
            limits: self.limits,
            ends,
            deadline: Instant::now() + self.limits.wall,
            logged: 0,
            given: 0,
            held: Vec::new(),
        })
    }
}

impl Reader<'_> {
    /// Answers the child's requests, until it has a result.
    fn converse(&mut self, job: &ReadJob<'_>) -> Result<Result<Read, Error>, MessageError> {
        let ReadJob { path, program, budget, files, options } = job;
        let hello = ParseRequest::new(Given {
            program: SentPath::from(*path),
            stamp: program.stamp().clone(),
            roots: files.roots(),
            options: &options.debug_files,
            budget_bytes: budget.limit(),
            work_bytes: self.limits.work_bytes,
            cpu_seconds: self.limits.cpu.as_secs(),
        });
        self.send(&hello, Some(program.memory().as_fd()))?;
        loop {
            let request = self.receive()?;
            let since = Instant::now();
            let reply = match request {
                ChildRequest::Done(answer) => return Ok(*answer),
                ChildRequest::Log { level, text } => {
                    self.log(&level, &text);
                    continue;
                }
                ChildRequest::Settle { id, right } => {
                    BuildId::new(&id).iter().for_each(|id| files.settle(id, right));
                    continue;
                }
                ChildRequest::Open { root, path } => {
                    let found = files.open(root, &path.0);
                    self.give(found.map(|found| (found.snapshot, found.real_dir)), budget.limit())
                }
                ChildRequest::Fetched { id } => {
                    match BuildId::new(&id).and_then(|id| files.fetched(&id)) {
                        Some(found) => self.give(found.map(|file| (file, None)), budget.limit()),
                        None => (ParentReply::Nothing, None),
                    }
                }
                ChildRequest::Fetch { server, id } => {
                    let id = BuildId::new(&id).ok_or(DebugFileRefusal::Absent);
                    let found = id.and_then(|id| files.fetch(server, &id));
                    self.give(found.map(|file| (file, None)), budget.limit())
                }
                ChildRequest::Stored { name } => (stored(files, &name), None),
            };
            // What took us time is not the child's fault.
            self.deadline += since.elapsed();
            let (reply, snapshot) = reply;
            self.send(&reply, snapshot.as_ref().map(|file| file.memory().as_fd()))?;
            self.held.extend(snapshot.map(FileSnapshot::into_charge));
        }
    }

    /// A reply with a file, if it is one that may be handed out.
    fn give(
        &mut self,
        found: Result<(FileSnapshot, Option<std::path::PathBuf>), DebugFileRefusal>,
        limit: u64,
    ) -> (ParentReply, Option<FileSnapshot>) {
        let checked = found.and_then(|(snapshot, real_dir)| {
            // Whatever else a path leads to, a key or a password file, stays here.
            if !snapshot.is_elf() {
                return Err(DebugFileRefusal::Elf(None));
            }
            self.given = self.given.saturating_add(snapshot.size());
            if self.given > limit.saturating_mul(2) {
                return Err(DebugFileRefusal::Unread(SnapshotError::NoRoom { limit }));
            }
            Ok((snapshot, real_dir))
        });
        match checked {
            Ok((snapshot, real_dir)) => {
                let real_dir = real_dir.as_deref().map(|dir: &Path| SentPath::from(dir));
                (ParentReply::File { stamp: snapshot.stamp().clone(), real_dir }, Some(snapshot))
            }
            Err(refusal) => (ParentReply::Refused(refusal), None),
        }
    }

    fn log(&mut self, level: &str, text: &str) {
        self.logged += 1;
        let level = log::Level::from_str(level).unwrap_or(log::Level::Warn);
        match self.logged.cmp(&MAX_LOG_RECORDS) {
            std::cmp::Ordering::Less => log::log!(target: "symbols", level, "{text}"),
            std::cmp::Ordering::Equal => {
                log::warn!(target: "symbols", "further messages about these files are not logged")
            }
            std::cmp::Ordering::Greater => {}
        }
    }

    fn send(
        &self,
        message: &impl serde::Serialize,
        file: Option<BorrowedFd<'_>>,
    ) -> Result<(), MessageError> {
        self.line.send(message, file, &mut |socket, flags| self.wait(socket, flags))
    }

    fn receive(&self) -> Result<ChildRequest, MessageError> {
        let (request, _): (ChildRequest, Option<OwnedFd>) =
            self.line.receive(&mut |socket, flags| self.wait(socket, flags))?;
        Ok(request)
    }

    /// Waits for the socket, an end, or the deadline.
    fn wait(&self, socket: BorrowedFd<'_>, flags: PollFlags) -> Result<(), MessageError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let slow = || IsolatedError::Slow { limit: self.limits.wall };
        if left.is_zero() {
            return Err(slow().into());
        }
        let mut waiting: Vec<_> = self.ends.poll_fds().collect();
        waiting.push(PollFd::from_borrowed_fd(socket, flags));
        let left = Timespec::try_from(left).map_err(|_| slow())?;
        match poll(&mut waiting, Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(IsolatedError::protocol(error.to_string()).into()),
        }
        if self.ends.reached() { Err(IsolatedError::Stopped.into()) } else { Ok(()) }
    }

    /// Why the child gives no answer, by how it ended.
    fn explain(&mut self, error: MessageError) -> IsolatedError {
        match error {
            MessageError::Other(error) => return error,
            MessageError::Closed => {}
        }
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if start.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                _ => return IsolatedError::Died { how: "it closed its socket".to_owned() },
            }
        };
        let mut last_words = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            // It is dead, so this ends.
            let _ = stderr.take(MAX_LAST_WORDS).read_to_end(&mut last_words);
        }
        let last_words = String::from_utf8_lossy(&last_words);
        let signal = status.signal().and_then(Signal::from_named_raw);
        // The allocator of Rust says this, and aborts.
        let no_memory = last_words.contains("memory allocation of");
        match signal {
            _ if no_memory => IsolatedError::Memory { limit: self.limits.work_bytes },
            Some(Signal::XCPU) => IsolatedError::Cpu { limit: self.limits.cpu },
            // Nobody else ends it so: the kernel does, when memory runs out.
            Some(Signal::KILL) => IsolatedError::Memory { limit: self.limits.work_bytes },
            _ => IsolatedError::Died { how: format!("{status}; {}", last_words.trim()) },
        }
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The operator's profile of a build; the child chooses the name, so it must be one.
fn stored(files: &LocalFiles, name: &str) -> ParentReply {
    let hex = name.strip_prefix("blake3-").unwrap_or(name);
    if hex.is_empty() || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return ParentReply::Nothing;
    }
    match files.stored(name) {
        Some((name, text)) => ParentReply::Stored { name, text },
        None => ParentReply::Nothing,
    }
}
