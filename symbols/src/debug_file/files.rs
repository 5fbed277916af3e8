//! Where a search gets the files that it asks for.
//!
//! [`LocalFiles`] opens them. A process that may not, and parses for another, asks that one
//! (`isolated`), so every look goes through this trait.

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::attempt::{Attempt, Place, Refusal, Wanted};
use super::debuginfod;
use super::link::BuildId;
use super::options::Debuginfod;
use super::root::Root;
use crate::budget::Budget;
use crate::elf::{Snapshot, SnapshotError};
use crate::ends::Ends;
use crate::path_text;

/// Most files that are asked for in one search. A server has about 20 sources of interest, each
/// of which may be a split unit with four places.
const MAX_REQUESTS: usize = 2000;

/// Largest stored profile read, in bytes; a real one has 10 KB.
const MAX_STORED_BYTES: u64 = 1 << 20;

/// How often a slow server is left for a look at the [`Ends`].
const PAUSE: Duration = Duration::from_millis(50);

/// The files of one search.
pub(crate) trait Files: Debug {
    /// The roots to look below: the target's, then the observer's, where that is another.
    fn roots(&self) -> &[RootPlace];

    /// The file at `path`, absolute inside a root.
    fn open(&self, root: usize, path: &Path) -> Result<FoundFile, Refusal>;

    /// What an earlier run fetched; none when nothing is kept.
    fn fetched(&self, id: &BuildId) -> Option<Result<Snapshot, Refusal>>;

    /// What the server of that number delivers.
    fn fetch(&self, server: usize, id: &BuildId) -> Result<Snapshot, Refusal>;

    /// The file that was fetched last is the one of that build, and may be kept; or it is not.
    fn settle(&self, id: &BuildId, right: bool);

    /// The profile that the operator stored for a build: the path of its file, and its text.
    fn stored(&self, build_id: &str) -> Option<(String, String)>;
}

/// A root folder, as those know it who do not open it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RootPlace {
    /// As given, for messages: `/proc/PID/root`.
    #[serde(with = "path_text")]
    pub(crate) shown: PathBuf,
    /// The program inside this root.
    #[serde(with = "path_text")]
    pub(crate) program: PathBuf,
}

impl RootPlace {
    /// The program's folder, where relative names start.
    pub(super) fn program_dir(&self) -> &Path {
        self.program.parent().unwrap_or(Path::new("/"))
    }

    /// `path` with this root in front, for people.
    pub(super) fn show(&self, path: &Path) -> PathBuf {
        self.shown.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// A file, and the folder inside its root that it really lies in.
#[derive(Debug)]
pub(crate) struct FoundFile {
    pub(crate) snapshot: Snapshot,
    pub(crate) real_dir: Option<PathBuf>,
}

/// Files that this process opens itself.
#[derive(Debug)]
pub(crate) struct LocalFiles {
    /// One or two; none when not even `/` can be opened.
    roots: Vec<Root>,
    places: Vec<RootPlace>,
    servers: Debuginfod,
    profile_dirs: Vec<PathBuf>,
    /// What was fetched last.
    newest: RefCell<Option<NamedTempFile>>,
    budget: Budget,
    ends: Ends,
    requests: Cell<usize>,
}

impl LocalFiles {
    /// Opens the roots of a program; one that cannot be opened is told in `tried`.
    pub(crate) fn open(
        program: &Path,
        target_root: &Path,
        servers: &Debuginfod,
        budget: &Budget,
        tried: &mut Vec<Attempt>,
    ) -> Self {
        let mut roots: Vec<Root> = Vec::with_capacity(2);
        for path in [target_root, Path::new("/")] {
            match Root::open(path, program) {
                Ok(root) if roots.iter().any(|other| other.is_same(&root)) => {}
                Ok(root) => roots.push(root),
                Err(error) => tried.push(Attempt {
                    wanted: Wanted::DebugFile,
                    place: Place::File(path.to_owned()),
                    outcome: Err(Refusal::from_open(error)),
                }),
            }
        }
        let places = roots.iter().map(|root| root.place().clone()).collect();
        Self {
            roots,
            places,
            servers: servers.clone(),
            profile_dirs: Vec::new(),
            newest: RefCell::new(None),
            budget: budget.clone(),
            ends: Ends::default(),
            requests: Cell::new(0),
        }
    }

    /// Looks for stored profiles in these folders.
    pub(crate) fn with_profiles(mut self, dirs: &[PathBuf]) -> Self {
        self.profile_dirs = dirs.to_vec();
        self
    }

    /// Gives up when one of these is there.
    pub(crate) fn until(mut self, ends: &Ends) -> Self {
        self.ends = ends.clone();
        self
    }

    fn count(&self) -> Result<(), Refusal> {
        let requests = self.requests.get();
        self.requests.set(requests + 1);
        if requests >= MAX_REQUESTS { Err(Refusal::TooMany(MAX_REQUESTS)) } else { Ok(()) }
    }

    fn read(&self, path: &Path) -> Result<Snapshot, Refusal> {
        let stop = || self.ends.reached();
        Snapshot::read_until(path, &self.budget, &stop).map_err(Refusal::from_read)
    }
}

impl Files for LocalFiles {
    fn roots(&self) -> &[RootPlace] {
        &self.places
    }

    fn open(&self, root: usize, path: &Path) -> Result<FoundFile, Refusal> {
        self.count()?;
        let root = self.roots.get(root).ok_or(Refusal::Absent)?;
        root.open_file(path, &self.budget, &|| self.ends.reached())
    }

    fn fetched(&self, id: &BuildId) -> Option<Result<Snapshot, Refusal>> {
        let path = self.servers.cached(id)?;
        Some(self.count().and_then(|()| self.read(&path)))
    }

    fn fetch(&self, server: usize, id: &BuildId) -> Result<Snapshot, Refusal> {
        self.count()?;
        let url = self.servers.url(server, id).ok_or(Refusal::Absent)?;
        let (sender, done) = channel();
        let servers = self.servers.clone();
        // A transfer may take half an hour; whoever waits for it may be gone after a second.
        let transfer = move || drop(sender.send(debuginfod::fetch(&url, &servers)));
        thread::Builder::new()
            .name("debuginfod".to_owned())
            .spawn(transfer)
            .map_err(Refusal::from_open)?;
        let file = loop {
            match done.recv_timeout(PAUSE) {
                Ok(fetched) => break fetched?,
                Err(RecvTimeoutError::Timeout) if !self.ends.reached() => {}
                Err(_) => return Err(Refusal::Unread(SnapshotError::Stopped)),
            }
        };
        let snapshot = self.read(file.path())?;
        // What was read outlives the name, so the file may go when there is no cache to keep it in.
        self.newest.replace(Some(file));
        Ok(snapshot)
    }

    fn settle(&self, id: &BuildId, right: bool) {
        let (file, cache) = (self.newest.take(), self.servers.cache_dir.as_ref());
        let (Some(file), Some(cache)) = (file.filter(|_| right), cache) else { return };
        if let Err(error) = debuginfod::keep(file, id, cache) {
            log::warn!("a debug file is used but not kept in `{}`: {error}", foreign::path(cache));
        }
    }

    fn stored(&self, build_id: &str) -> Option<(String, String)> {
        self.profile_dirs.iter().find_map(|dir| {
            let path = dir.join(format!("{build_id}.json"));
            let small = fs::metadata(&path).ok()?.len() <= MAX_STORED_BYTES;
            let text = fs::read_to_string(&path).ok().filter(|_| small)?;
            Some((path.display().to_string(), text))
        })
    }
}
