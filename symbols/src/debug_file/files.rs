//! Where a search gets the files that it needs.
//!
//! [`LocalFiles`] opens them. A process that may not, and parses for another, requests them from the first one
//! (`isolated`), so every look goes through this trait.

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::attempt::{Attempt, DebugFileRefusal, SearchPlace, WantedFile};
use super::debuginfod;
use super::found::{FoundFile, RootPlace};
use super::link::BuildId;
use super::options::Debuginfod;
use super::root::SearchRoot;
use crate::budget::Budget;
use crate::elf::{FileSnapshot, Owner, SnapshotError};
use crate::ends::Ends;
use crate::path_text::SentPath;
use crate::profile::MAX_PROFILE_BYTES;
use crate::small_file::{self, SmallFileError};
use crate::trust::Trust;

/// Most files that one search requests. A server has about 20 sources of interest, each
/// of which may be a split unit with four places.
const MAX_REQUESTS: usize = 2000;

/// How often a slow server is left for a look at the [`Ends`].
const PAUSE: Duration = Duration::from_millis(50);

/// The files of one search.
pub(crate) trait FileProvider: Debug {
    /// The roots to look below: the target's, then the observer's, where that is another.
    fn roots(&self) -> &[RootPlace];

    /// The file at `path`, absolute inside a root.
    fn open(&self, root: usize, path: &Path) -> Result<FoundFile, DebugFileRefusal>;

    /// What an earlier run fetched; none when nothing is kept.
    fn fetched(&self, id: &BuildId) -> Option<Result<FileSnapshot, DebugFileRefusal>>;

    /// What the server of that number delivers.
    fn fetch(&self, server: usize, id: &BuildId) -> Result<FileSnapshot, DebugFileRefusal>;

    /// The file that was fetched last is the one of that build, and may be kept; or it is not.
    fn settle(&self, id: &BuildId, right: bool);

    /// The profile that the operator stored under `name`: the path of its file, and its text.
    fn stored(&self, name: &str) -> Option<(String, Result<String, DebugFileRefusal>)>;

    /// Whether the operator may have stored any.
    fn has_stored(&self) -> bool;

    /// The list of a program's names at `path`, absolute inside a root. It must be root's own.
    fn symbol_list(&self, root: usize, path: &Path) -> Result<FileSnapshot, DebugFileRefusal>;
}

/// A file that was handed out: how to get it again, and what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handed {
    place: Handle,
    hash: [u8; blake3::OUT_LEN],
    /// `st_uid` of the file.
    owner: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Handle {
    Below { root: usize, path: SentPath },
    Fetched { id: Vec<u8> },
}

/// What was handed out of one search.
#[derive(Debug, Default)]
struct HandedOut {
    files: Vec<Handed>,
    /// Whether some of them may be replaced by strangers.
    passing: bool,
}

/// Files that this process opens itself.
#[derive(Debug)]
pub(crate) struct LocalFiles {
    /// One or two; none when not even `/` can be opened.
    roots: Vec<SearchRoot>,
    places: Vec<RootPlace>,
    servers: Debuginfod,
    profile_dirs: Vec<PathBuf>,
    trust: Trust,
    handed: RefCell<HandedOut>,
    /// What was fetched last.
    newest: RefCell<Option<NamedTempFile>>,
    budget: Budget,
    ends: Ends,
    requests: Cell<usize>,
}

impl LocalFiles {
    /// Opens the roots of a program; one that cannot be opened is noted in `tried`.
    pub(crate) fn open(
        program: &Path,
        target_root: &Path,
        servers: &Debuginfod,
        budget: &Budget,
        tried: &mut Vec<Attempt>,
    ) -> Self {
        let mut roots: Vec<SearchRoot> = Vec::with_capacity(2);
        for path in [target_root, Path::new("/")] {
            match SearchRoot::open(path, program) {
                Ok(root) if roots.iter().any(|other| other.is_same(&root)) => {}
                Ok(root) => roots.push(root),
                Err(error) => tried.push(Attempt {
                    wanted: WantedFile::DebugFile,
                    place: SearchPlace::File(path.to_owned()),
                    outcome: Err(DebugFileRefusal::from_open(error)),
                }),
            }
        }
        let places = roots.iter().map(|root| root.place().clone()).collect();
        Self {
            roots,
            places,
            servers: servers.clone(),
            profile_dirs: Vec::new(),
            trust: Trust::own(),
            handed: RefCell::default(),
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

    /// Believes files of these users.
    pub(crate) fn trusting(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Everything that was handed out, the program not among it; none where strangers can replace one of
    /// them, or the program.
    pub(crate) fn handed_out(&self, program: &Owner) -> Option<Vec<Handed>> {
        let root = self.roots.first()?;
        let lasting = self.trust.check(program).is_ok()
            && root.holds_still(&root.place().program, &self.trust);
        let handed = self.handed.borrow();
        (lasting && !handed.passing).then(|| handed.files.clone())
    }

    /// Whether each of these files is what it was. They are read to their ends.
    pub(crate) fn are_still(&self, files: &[Handed]) -> bool {
        let stop = || self.ends.reached();
        files.iter().all(|handed| {
            let file = match &handed.place {
                Handle::Below { root, path } => {
                    self.roots.get(*root).and_then(|root| root.find(&path.0, &self.trust).ok())
                }
                Handle::Fetched { id } => BuildId::new(id)
                    .and_then(|id| self.servers.cached(&id))
                    .and_then(|path| own_file(&path).ok()),
            };
            let now = file.and_then(|file| FileSnapshot::identity_of(&file, &stop).ok());
            now.is_some_and(|(hash, owner)| hash == handed.hash && owner.uid == handed.owner)
        })
    }

    fn hand_out(&self, place: Handle, snapshot: &FileSnapshot, lasting: bool) {
        let (hash, owner) = (*snapshot.hash().as_bytes(), snapshot.owner().uid);
        let mut handed = self.handed.borrow_mut();
        handed.files.push(Handed { place, hash, owner });
        handed.passing |= !lasting;
    }

    /// Gives up when one of these is there.
    pub(crate) fn until(mut self, ends: &Ends) -> Self {
        self.ends = ends.clone();
        self
    }

    fn count(&self) -> Result<(), DebugFileRefusal> {
        let requests = self.requests.get();
        self.requests.set(requests + 1);
        if requests >= MAX_REQUESTS { Err(DebugFileRefusal::TooMany(MAX_REQUESTS)) } else { Ok(()) }
    }

    fn read(&self, path: &Path) -> Result<FileSnapshot, DebugFileRefusal> {
        let stop = || self.ends.reached();
        FileSnapshot::read_until(path, &self.budget, &stop).map_err(DebugFileRefusal::from_read)
    }
}

impl FileProvider for LocalFiles {
    fn roots(&self) -> &[RootPlace] {
        &self.places
    }

    fn open(&self, root: usize, path: &Path) -> Result<FoundFile, DebugFileRefusal> {
        self.count()?;
        let number = root;
        let root = self.roots.get(root).ok_or(DebugFileRefusal::Absent)?;
        let stop = || self.ends.reached();
        let found = root.open_file(path, &self.trust, &self.budget, &stop)?;
        let lasting = found
            .real_dir
            .as_ref()
            .is_some_and(|dir| root.holds_still(&dir.join("file"), &self.trust));
        let place = Handle::Below { root: number, path: SentPath::from(path) };
        self.hand_out(place, &found.snapshot, lasting);
        Ok(found)
    }

    fn fetched(&self, id: &BuildId) -> Option<Result<FileSnapshot, DebugFileRefusal>> {
        let path = self.servers.cached(id)?;
        let read = || {
            self.count()?;
            let file = own_file(&path)?;
            let stop = || self.ends.reached();
            let snapshot = FileSnapshot::of(&file, &self.budget, &stop)
                .map_err(DebugFileRefusal::from_read)?;
            self.hand_out(Handle::Fetched { id: id.bytes().to_vec() }, &snapshot, true);
            Ok(snapshot)
        };
        Some(read())
    }

    fn fetch(&self, server: usize, id: &BuildId) -> Result<FileSnapshot, DebugFileRefusal> {
        self.count()?;
        let url = self.servers.url(server, id).ok_or(DebugFileRefusal::Absent)?;
        let (sender, done) = channel();
        let servers = self.servers.clone();
        // A transfer may take half an hour; the process that waits for it may be gone after a second.
        let transfer = move || drop(sender.send(debuginfod::fetch(&url, &servers)));
        thread::Builder::new()
            .name("debuginfod".to_owned())
            .spawn(transfer)
            .map_err(DebugFileRefusal::from_open)?;
        let file = loop {
            match done.recv_timeout(PAUSE) {
                Ok(fetched) => break fetched?,
                Err(RecvTimeoutError::Timeout) if !self.ends.reached() => {}
                Err(_) => return Err(DebugFileRefusal::Unread(SnapshotError::Stopped)),
            }
        };
        let snapshot = self.read(file.path())?;
        self.hand_out(Handle::Fetched { id: id.bytes().to_vec() }, &snapshot, true);
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

    fn stored(&self, name: &str) -> Option<(String, Result<String, DebugFileRefusal>)> {
        self.profile_dirs.iter().find_map(|dir| {
            let path = dir.join(format!("{name}.json"));
            let shown = path.to_string_lossy().into_owned();
            // A folder of the operator's may hold links; who can write what they lead to counts.
            let real = path.canonicalize().ok()?;
            let read = small_file::read(&real, MAX_PROFILE_BYTES, &Trust::own());
            let text = read.map_err(|error| match error {
                SmallFileError::Io(error) => DebugFileRefusal::from_open(error),
                SmallFileError::NotAFile => DebugFileRefusal::NotAFile,
                SmallFileError::Stranger(distrust) => DebugFileRefusal::Stranger(distrust),
                SmallFileError::TooLarge { limit } => {
                    DebugFileRefusal::Unread(SnapshotError::NoRoom { limit })
                }
            });
            Some((shown, text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())))
        })
    }

    fn has_stored(&self) -> bool {
        !self.profile_dirs.is_empty()
    }

    fn symbol_list(&self, root: usize, path: &Path) -> Result<FileSnapshot, DebugFileRefusal> {
        self.count()?;
        let number = root;
        let root = self.roots.get(root).ok_or(DebugFileRefusal::Absent)?;
        let stop = || self.ends.reached();
        let found = root.open_list(path, &self.budget, &stop)?;
        let lasting =
            found.real_dir.is_some_and(|dir| root.holds_still(&dir.join("file"), &self.trust));
        let place = Handle::Below { root: number, path: SentPath::from(path) };
        self.hand_out(place, &found.snapshot, lasting);
        Ok(found.snapshot)
    }
}

/// A file of the cache of what was fetched, opened as a path only: this user's own or root's.
fn own_file(path: &Path) -> Result<OwnedFd, DebugFileRefusal> {
    let failed =
        |error: rustix::io::Errno| DebugFileRefusal::from_open(std::io::Error::from(error));
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
    let stat = rustix::fs::fstat(&file).map_err(failed)?;
    Trust::own().check(&Owner::of(&stat))?;
    Ok(file)
}
