//! The process that reads foreign files.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::str::FromStr as _;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::IsolatedError;
use super::confine::{close_inherited, confine};
use super::line::{ChildMessage, MessageError};
use super::message::{ChildRequest, ParentReply, ParseRequest, WholeProgram, shorten};
use crate::budget::Budget;
use crate::debug_file::DebugFileRefusal;
use crate::debug_file::files::FileProvider;
use crate::debug_file::found::{FoundFile, RootPlace};
use crate::debug_file::link::BuildId;
use crate::elf::{FileSnapshot, Program, SnapshotError};
use crate::ends::Ends;
use crate::error::Error;
use crate::path_text::SentPath;
use crate::read::{self, Read};

/// Most characters of a log record.
const MAX_LOG_CHARS: usize = 1000;

/// The socket: all messages go through it, log records too.
static PARENT: OnceLock<Mutex<ChildMessage>> = OnceLock::new();

/// Reads files for the process that started this one, over the socket at standard input, with no
/// rights and within limits. Whether that went well: where not, nothing can be reported.
pub fn serve() -> bool {
    answer().is_ok()
}

fn answer() -> Result<(), MessageError> {
    close_inherited();
    let start = |error: std::io::Error| MessageError::from(IsolatedError::Start(error.into()));
    let socket = std::io::stdin().as_fd().try_clone_to_owned().map_err(start)?;
    let line = PARENT.get_or_init(|| Mutex::new(ChildMessage::new(socket)));
    let (hello, program): (ParseRequest, _) = locked(line).receive(&mut wait)?;
    let program = program.ok_or_else(|| IsolatedError::protocol("no program"))?;
    if log::set_logger(&Logger).is_ok() {
        let level = log::LevelFilter::from_str(&hello.level);
        log::set_max_level(level.unwrap_or(log::LevelFilter::Warn));
    }
    let memory_bytes = hello.budget_bytes.saturating_add(hello.work_bytes);
    let confined = confine(memory_bytes, hello.cpu_seconds);
    let confined =
        confined.map_err(|error| Error::from(Box::new(IsolatedError::Start(error.into()))));
    let budget = Budget::new(hello.budget_bytes);
    let has_stored = hello.has_stored;
    let files = ParentFiles { roots: hello.roots.clone(), budget, has_stored };
    let known = || read::known(&hello.program.0, program.into(), &files, &Ends::default());
    let known = confined.and_then(|()| known());
    let is_all = !matches!(known, Ok(None));
    send(&ChildRequest::Known(Box::new(known)))?;
    if is_all {
        return Ok(());
    }
    let (whole, memory): (WholeProgram, _) = locked(line).receive(&mut wait)?;
    let memory = memory.ok_or_else(|| IsolatedError::protocol("no program"))?;
    let mut answer = read(&hello, whole, memory, files);
    shorten(&mut answer);
    send(&ChildRequest::Done(Box::new(answer)))
}

fn read(
    hello: &ParseRequest,
    whole: WholeProgram,
    memory: OwnedFd,
    files: ParentFiles,
) -> Result<Read, Error> {
    let (path, budget) = (&hello.program.0, files.budget.clone());
    let snapshot = FileSnapshot::received(memory, whole.stamp, &budget);
    let snapshot = snapshot.map_err(|error| crate::elf::ElfError::read(path, error))?;
    let program = Program::of(path, snapshot, &budget)?;
    read::read(&program, Rc::new(files), &hello.options())
}

/// Files that the parent opens.
#[derive(Debug)]
struct ParentFiles {
    roots: Vec<RootPlace>,
    budget: Budget,
    has_stored: bool,
}

impl ParentFiles {
    /// A requested file; none where there is nothing of the kind.
    fn file(&self, request: &ChildRequest) -> Option<Result<FoundFile, DebugFileRefusal>> {
        let stopped = || DebugFileRefusal::Unread(SnapshotError::Stopped);
        match question(request) {
            Ok((ParentReply::File { stamp, real_dir }, Some(memory))) => {
                let snapshot = FileSnapshot::received(memory, stamp, &self.budget);
                let real_dir = real_dir.map(|dir| dir.0);
                let found = snapshot.map(|snapshot| FoundFile { snapshot, real_dir });
                Some(found.map_err(DebugFileRefusal::from_read))
            }
            Ok((ParentReply::Refused(refusal), _)) => Some(Err(refusal)),
            Ok((ParentReply::Nothing, _)) => None,
            Ok(_) | Err(_) => Some(Err(stopped())),
        }
    }
}

impl FileProvider for ParentFiles {
    fn roots(&self) -> &[RootPlace] {
        &self.roots
    }

    fn open(&self, root: usize, path: &Path) -> Result<FoundFile, DebugFileRefusal> {
        self.file(&ChildRequest::Open { root, path: SentPath::from(path) })
            .unwrap_or(Err(DebugFileRefusal::Absent))
    }

    fn fetched(&self, id: &BuildId) -> Option<Result<FileSnapshot, DebugFileRefusal>> {
        let found = self.file(&ChildRequest::Fetched { id: id.bytes().to_vec() })?;
        Some(found.map(|found| found.snapshot))
    }

    fn fetch(&self, server: usize, id: &BuildId) -> Result<FileSnapshot, DebugFileRefusal> {
        let found = self.file(&ChildRequest::Fetch { server, id: id.bytes().to_vec() });
        found.unwrap_or(Err(DebugFileRefusal::Absent)).map(|found| found.snapshot)
    }

    fn settle(&self, id: &BuildId, right: bool) {
        // The parent is gone where this fails, and the next message to it fails too.
        let _ = send(&ChildRequest::Settle { id: id.bytes().to_vec(), right });
    }

    fn stored(&self, name: &str) -> Option<(String, Result<String, DebugFileRefusal>)> {
        match question(&ChildRequest::Stored { name: name.to_owned() }) {
            Ok((ParentReply::Stored { name, text }, _)) => Some((name, text)),
            _ => None,
        }
    }

    fn has_stored(&self) -> bool {
        self.has_stored
    }

    fn symbol_list(&self, root: usize, path: &Path) -> Result<FileSnapshot, DebugFileRefusal> {
        let request = ChildRequest::SymbolList { root, path: SentPath::from(path) };
        let found = self.file(&request).unwrap_or(Err(DebugFileRefusal::Absent));
        found.map(|found| found.snapshot)
    }
}

fn send(request: &ChildRequest) -> Result<(), MessageError> {
    let line = PARENT.get().ok_or(MessageError::Closed)?;
    locked(line).send(request, None, &mut wait)
}

fn question(request: &ChildRequest) -> Result<(ParentReply, Option<OwnedFd>), MessageError> {
    let line = PARENT.get().ok_or(MessageError::Closed)?;
    let line = locked(line);
    line.send(request, None, &mut wait)?;
    line.receive(&mut wait)
}

fn locked(line: &Mutex<ChildMessage>) -> MutexGuard<'_, ChildMessage> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The parent has a deadline; this process has none of its own.
fn wait(socket: BorrowedFd<'_>, flags: PollFlags) -> Result<(), MessageError> {
    match poll(&mut [PollFd::from_borrowed_fd(socket, flags)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(IsolatedError::protocol(error.to_string()).into()),
    }
}

/// Sends log records to the parent.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let (level, text) = (record.level().to_string(), record.args().to_string());
        let text = text.chars().take(MAX_LOG_CHARS).collect();
        let _ = send(&ChildRequest::Log { level, text });
    }

    fn flush(&self) {}
}
