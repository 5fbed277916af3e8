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
use super::message::{ChildRequest, Given, ParentReply, ParseRequest, WholeProgram};
use super::{COMMAND, ChildLimits, IsolatedError, Isolation};
use crate::budget::Charge;
use crate::debug_file::DebugFileRefusal;
use crate::debug_file::files::{FileProvider, LocalFiles};
use crate::debug_file::link::BuildId;
use crate::elf::{FileSnapshot, SnapshotError};
use crate::ends::Ends;
use crate::error::Error;
use crate::options::Options;
use crate::path_text::SentPath;
use crate::profile::Profile;
use crate::read::Read;
use crate::server::Definition;
use crate::stored;

/// Most log records that are passed on; a million broken units must not fill a disk.
const MAX_LOG_RECORDS: usize = 20;

/// Most bytes that are kept of the child's last output.
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

/// What the child answers.
enum Answer {
    Read(Box<Result<Read, Error>>),
    Known(Box<Result<Option<Profile>, Error>>),
}

/// What a program is read with.
#[derive(Clone, Copy)]
pub(crate) struct ReadJob<'a> {
    /// For messages.
    pub(crate) path: &'a Path,
    pub(crate) files: &'a LocalFiles,
    pub(crate) options: &'a Options,
    /// Most that copies of files may take, in bytes.
    pub(crate) limit: u64,
}

/// A program that another process is reading.
pub(crate) struct IsolatedProgram<'a> {
    job: ReadJob<'a>,
    reader: Reader<'a>,
    /// Of the open file, in bytes.
    size: u64,
}

impl Isolation {
    /// Has an open program read by another process.
    pub(crate) fn open<'a>(
        &self,
        job: ReadJob<'a>,
        file: BorrowedFd<'_>,
        size: u64,
    ) -> Result<IsolatedProgram<'a>, Error> {
        let ReadJob { path, files, options, limit } = job;
        let mut reader = self.start(&options.ends).map_err(Box::new)?;
        let hello = ParseRequest::new(Given {
            program: SentPath::from(path),
            has_stored: files.has_stored(),
            roots: files.roots(),
            options: &options.debug_files,
            budget_bytes: limit,
            work_bytes: self.limits.work_bytes,
            cpu_seconds: self.limits.cpu.as_secs(),
        });
        match reader.send(&hello, Some(file)) {
            Ok(()) => Ok(IsolatedProgram { job, reader, size }),
            Err(error) => Err(Box::new(reader.explain(error)).into()),
        }
    }
}

impl IsolatedProgram<'_> {
    /// The stored profile, which the other process has compared with the program; none where none is stored, or where that
    /// can only be said once all of the program is read.
    pub(crate) fn known(&mut self) -> Result<Option<Profile>, Error> {
        let known = match self.answer()? {
            Answer::Known(known) => (*known)?,
            Answer::Read(_) => return Err(no_answer("it answers another question")),
        };
        // It can be no other than what we have stored.
        let is_ours = |profile: &Profile| {
            profile.binary.size == self.size && stored::is_stored(profile, self.job.files)
        };
        match known {
            Some(profile) if !is_ours(&profile) => {
                Err(no_answer("its answer is no stored profile"))
            }
            known => Ok(known),
        }
    }

    /// The profile by all of the program and the files that belong to it.
    pub(crate) fn read(mut self, program: &FileSnapshot) -> Result<Read, Error> {
        // It has waited while we read.
        self.reader.deadline = Instant::now() + self.reader.limits.wall;
        let whole = WholeProgram { stamp: program.stamp().clone() };
        if let Err(error) = self.reader.send(&whole, Some(program.memory().as_fd())) {
            return Err(Box::new(self.reader.explain(error)).into());
        }
        let read = match self.answer()? {
            Answer::Read(read) => (*read)?,
            Answer::Known(_) => return Err(no_answer("it answers another question")),
        };
        let binary = &read.profile.binary;
        let hash = program.hash().to_hex();
        if binary.content_hash.as_deref() != Some(hash.as_str()) || binary.size != program.size() {
            return Err(no_answer("its answer is of another program"));
        }
        read.profile.check().map_err(|error| no_answer(error.to_string()))?;
        Ok(read)
    }

    fn answer(&mut self) -> Result<Answer, Error> {
        let ReadJob { files, limit, .. } = self.job;
        let answer = self.reader.converse(files, limit);
        answer.map_err(|error| Box::new(self.reader.explain(error)).into())
    }
}

fn no_answer(what: impl Into<String>) -> Error {
    Box::new(IsolatedError::protocol(what)).into()
}

impl Isolation {
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
    /// Answers the child's requests, until it has a result; files take at most `limit` bytes.
    fn converse(&mut self, files: &LocalFiles, limit: u64) -> Result<Answer, MessageError> {
        loop {
            let request = self.receive()?;
            let since = Instant::now();
            let reply = match request {
                ChildRequest::Done(answer) => return Ok(Answer::Read(answer)),
                ChildRequest::Known(known) => return Ok(Answer::Known(known)),
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
                    self.give(found.map(|found| (found.snapshot, found.real_dir)), limit)
                }
                ChildRequest::Fetched { id } => {
                    match BuildId::new(&id).and_then(|id| files.fetched(&id)) {
                        Some(found) => self.give(found.map(|file| (file, None)), limit),
                        None => (ParentReply::Nothing, None),
                    }
                }
                ChildRequest::Fetch { server, id } => {
                    let id = BuildId::new(&id).ok_or(DebugFileRefusal::Absent);
                    let found = id.and_then(|id| files.fetch(server, &id));
                    self.give(found.map(|file| (file, None)), limit)
                }
                ChildRequest::SymbolList { root, path } => {
                    // Only where a definition has a list, and only what is compressed by gzip: nothing else is handed out.
                    let found = match is_list(&path.0) {
                        true => files.symbol_list(root, &path.0),
                        false => Err(DebugFileRefusal::Absent),
                    };
                    self.hand(found.map(|list| (list, None)), limit)
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
        // Whatever else a path leads to, a key or a password file, stays here.
        let found = found.and_then(|found| match found.0.is_elf() {
            true => Ok(found),
            false => Err(DebugFileRefusal::Elf(None)),
        });
        self.hand(found, limit)
    }

    /// A reply with a file.
    fn hand(
        &mut self,
        found: Result<(FileSnapshot, Option<std::path::PathBuf>), DebugFileRefusal>,
        limit: u64,
    ) -> (ParentReply, Option<FileSnapshot>) {
        let checked = found.and_then(|(snapshot, real_dir)| {
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
        // Rust's allocator prints this, and aborts.
        let no_memory = last_words.contains("memory allocation of");
        match signal {
            _ if no_memory => IsolatedError::Memory { limit: self.limits.work_bytes },
            Some(Signal::XCPU) => IsolatedError::Cpu { limit: self.limits.cpu },
            // Only the kernel ends it so, when memory runs out.
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

/// Whether a definition has the list of its servers' names at this path.
fn is_list(path: &Path) -> bool {
    let all = Definition::all().unwrap_or_default();
    all.iter().any(|definition| definition.symbol_list.as_deref() == Some(path))
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
