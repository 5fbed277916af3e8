//! Both halves together: page to file, file to disk.

use std::sync::Arc;
use std::time::Duration;

use symbols::files::FileConventions;

use super::error::LocateError;
use super::ids::{PageNo, SpaceId};
use super::looker::Looker;
use super::reason::NotOnDisk;
use super::tablespaces::{FileChanges, Tablespaces};
use crate::on_disk::{Disk, DiskFinder, FileId, FileRange, Location, Process, Share};

/// How long the files of a server are waited for by default.
const PATIENCE: Duration = Duration::from_secs(60);
/// A look that takes longer is worth a word.
const SLOW: Duration = Duration::from_secs(5);

/// Finds pages of one server. Call [`refresh`](Self::refresh) before a list is made; lookups then
/// ask the kernel once for each file that they touch.
pub struct Locator {
    tablespaces: Arc<Tablespaces>,
    looker: Looker,
    patience: Duration,
    finder: DiskFinder,
}

impl Locator {
    /// Looks at the files of the server with process id `pid`, of whatever family.
    ///
    /// # Errors
    /// [`LocateError`] when the process cannot be looked at.
    pub fn open(pid: u32) -> Result<Self, LocateError> {
        Self::open_within(pid, FileConventions::of_any(), PATIENCE)
    }

    /// Looks at the files of a server of a known family.
    ///
    /// # Errors
    /// [`LocateError`] when the process cannot be looked at.
    pub fn of(pid: u32, family: &str) -> Result<Self, LocateError> {
        Self::of_within(pid, family, PATIENCE)
    }

    /// As [`of`](Self::of), and goes on without the files after `patience`: a later look finds them.
    ///
    /// # Errors
    /// [`LocateError`] when the process cannot be looked at.
    pub fn of_within(pid: u32, family: &str, patience: Duration) -> Result<Self, LocateError> {
        Self::open_within(pid, FileConventions::of_family(family), patience)
    }

    fn open_within(
        pid: u32,
        conventions: FileConventions,
        patience: Duration,
    ) -> Result<Self, LocateError> {
        let process = Arc::new(Process::open(pid)?);
        let view = process.view()?;
        let nothing = Arc::new(Tablespaces::nothing(Arc::clone(&process), view, conventions));
        let looker = Looker::start(process, Arc::clone(&nothing));
        let mut locator = Self {
            tablespaces: nothing,
            looker: looker.map_err(|_| LocateError::Looker)?,
            patience,
            finder: DiskFinder::default(),
        };
        locator.refresh()?;
        Ok(locator)
    }

    /// How long [`refresh`](Self::refresh) waits for the files.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Looks again at files, mounts and devices; maps are proved or made anew on their next use. What
    /// takes longer than this value's patience comes with a later call.
    ///
    /// # Errors
    /// [`LocateError`] when the process cannot be looked at.
    pub fn refresh(&mut self) -> Result<FileChanges, LocateError> {
        self.looker.request();
        self.take(self.patience)
    }

    /// Has the files looked at again, and takes what a look has found; waits no longer than `patience`.
    /// Whether anything new was found.
    ///
    /// # Errors
    /// [`LocateError`] when the process cannot be looked at.
    pub fn poll(&mut self, patience: Duration) -> Result<bool, LocateError> {
        if self.looker.behind().is_zero() {
            self.looker.request();
        }
        let before = Arc::clone(&self.tablespaces);
        self.take(patience)?;
        Ok(!Arc::ptr_eq(&before, &self.tablespaces))
    }

    fn take(&mut self, patience: Duration) -> Result<FileChanges, LocateError> {
        let found = self.looker.take(patience).transpose()?;
        let (found, changes) =
            found.unwrap_or_else(|| (Arc::clone(&self.tablespaces), FileChanges::default()));
        self.finder.refresh(&*found)?;
        if let (Some(notice), None) = (left_out(&found), left_out(&self.tablespaces)) {
            log::warn!("{notice}");
        }
        self.tablespaces = found;
        Ok(changes)
    }

    /// True once the files have been looked at.
    #[must_use]
    pub fn has_looked(&self) -> bool {
        self.tablespaces.files().next().is_some()
    }

    /// What is worth a word of the last look, for people.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        let behind = self.looker.behind();
        if behind >= SLOW {
            return Some(format!(
                "the server's files have been looked at for {} s: names and extents may be out of date",
                behind.as_secs()
            ));
        }
        left_out(&self.tablespaces)
    }

    /// The data files.
    #[must_use]
    pub fn tablespaces(&self) -> &Tablespaces {
        &self.tablespaces
    }

    /// The disks that lookups have led to so far.
    pub fn disks(&self) -> impl Iterator<Item = &Disk> {
        self.finder.disks()
    }

    /// The share that a file lies on, once a lookup has led there.
    #[must_use]
    pub fn share_of(&self, file: FileId) -> Option<&Share> {
        self.finder.share_of(file)
    }

    /// File and offset of a page, without a system call.
    ///
    /// # Errors
    /// The reason why the page has no place.
    pub fn locate(&self, space: SpaceId, page: PageNo) -> Result<FileRange, NotOnDisk> {
        self.tablespaces.lookup(space, page)
    }

    /// Where the bytes of a page lie. Fastest when pages come in file order.
    ///
    /// # Errors
    /// The reason why they cannot be read from a disk.
    pub fn location(&mut self, page: FileRange) -> Result<Location, NotOnDisk> {
        Ok(self.finder.find(&*self.tablespaces, page)?)
    }

    /// Both halves: the files that pages lie in, and what finds the files' bytes on disks.
    pub(crate) fn halves(&mut self) -> (&Tablespaces, &mut DiskFinder) {
        (&self.tablespaces, &mut self.finder)
    }
}

/// The notice of files that there was no room for.
fn left_out(tablespaces: &Tablespaces) -> Option<String> {
    let count = tablespaces.left_out();
    (count > 0).then(|| {
        format!(
            "the server has too many files, or too long names: {count} are left out, and their pages are sent"
        )
    })
}
