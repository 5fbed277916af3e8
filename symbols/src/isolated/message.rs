//! The messages between the two processes: JSON, each message with its length in front.

use serde::{Deserialize, Serialize};

use crate::debug_file::found::RootPlace;
use crate::debug_file::{Attempt, DebugFileRefusal, Debuginfod, SearchOptions};
use crate::elf::snapshot::SnapshotStamp;
use crate::error::Error;
use crate::path_text::SentPath;
use crate::profile::Profile;
use crate::read::Read;

/// Longest message in bytes. A profile has 10 KB; a list of places may have some hundred.
pub(super) const MAX_BYTES: usize = 4 << 20;

/// Most places that are named in an answer.
const MAX_TRIED: usize = 500;

/// The parent's first message, with the open program: of what is stored for it, little of it has to be read.
#[derive(Serialize, Deserialize)]
pub(super) struct ParseRequest {
    pub(super) program: SentPath,
    /// Whether the operator may have stored profiles.
    pub(super) has_stored: bool,
    pub(super) roots: Vec<RootPlace>,
    debug_dirs: Vec<SentPath>,
    urls: Vec<String>,
    cache_dir: Option<SentPath>,
    /// Of the [`Budget`](crate::Budget).
    pub(super) budget_bytes: u64,
    /// Of the [`ChildLimits`](super::ChildLimits).
    pub(super) work_bytes: u64,
    pub(super) cpu_seconds: u64,
    /// The most detailed log records that are wanted, as `log` names them.
    pub(super) level: String,
}

/// Everything that does not come from the caller.
pub(super) struct Given<'a> {
    pub(super) program: SentPath,
    pub(super) has_stored: bool,
    pub(super) roots: &'a [RootPlace],
    pub(super) options: &'a SearchOptions,
    pub(super) budget_bytes: u64,
    pub(super) work_bytes: u64,
    pub(super) cpu_seconds: u64,
}

impl ParseRequest {
    pub(super) fn new(given: Given<'_>) -> Self {
        let servers = &given.options.debuginfod;
        Self {
            program: given.program,
            has_stored: given.has_stored,
            roots: given.roots.to_vec(),
            debug_dirs: given.options.debug_dirs.iter().map(|dir| dir.as_path().into()).collect(),
            urls: servers.urls.clone(),
            cache_dir: servers.cache_dir.as_deref().map(SentPath::from),
            budget_bytes: given.budget_bytes,
            work_bytes: given.work_bytes,
            cpu_seconds: given.cpu_seconds,
            level: log::max_level().to_string(),
        }
    }

    /// What a search needs to know; the limits on transfers are the parent's business.
    pub(super) fn options(&self) -> SearchOptions {
        SearchOptions {
            debug_dirs: self.debug_dirs.iter().map(|dir| dir.0.clone()).collect(),
            debuginfod: Debuginfod {
                urls: self.urls.clone(),
                cache_dir: self.cache_dir.as_ref().map(|dir| dir.0.clone()),
                ..Debuginfod::default()
            },
            // Whose files are believed, the parent decides.
            users: None,
        }
    }
}

/// The program once more, with all of it in memory: where there is no stored profile.
#[derive(Serialize, Deserialize)]
pub(super) struct WholeProgram {
    pub(super) stamp: SnapshotStamp,
}

/// A message of the child.
#[derive(Serialize, Deserialize)]
pub(super) enum ChildRequest {
    /// The file at a path inside a root.
    Open { root: usize, path: SentPath },
    /// What was fetched earlier for a build id.
    Fetched { id: Vec<u8> },
    /// The same from a debuginfod server.
    Fetch { server: usize, id: Vec<u8> },
    /// Whether what was fetched is right. No reply.
    Settle { id: Vec<u8>, right: bool },
    /// The operator's profile of a build.
    Stored { name: String },
    /// The list of a program's names at a path inside a root, which a definition must name.
    SymbolList { root: usize, path: SentPath },
    /// A log record. No reply.
    Log { level: String, text: String },
    /// The stored profile, and the end; none where all of the program has to be read, for which the child then waits.
    Known(Box<Result<Option<Profile>, Error>>),
    /// The answer, and the end.
    Done(Box<Result<Read, Error>>),
}

/// What the parent replies.
#[derive(Serialize, Deserialize)]
pub(super) enum ParentReply {
    /// A file; its memory comes with the message.
    File { stamp: SnapshotStamp, real_dir: Option<SentPath> },
    /// Why there is none.
    Refused(DebugFileRefusal),
    /// A stored profile.
    Stored { name: String, text: Result<String, DebugFileRefusal> },
    /// There is nothing of the kind.
    Nothing,
}

/// Leaves out of an answer what is not read.
pub(super) fn shorten(answer: &mut Result<Read, Error>) {
    let tried: Option<&mut Vec<Attempt>> = match answer {
        Ok(read) => Some(&mut read.tried),
        Err(Error::NoDebugInfo(missing)) => Some(&mut missing.tried),
        Err(_) => None,
    };
    if let Some(tried) = tried {
        tried.truncate(MAX_TRIED);
    }
}
