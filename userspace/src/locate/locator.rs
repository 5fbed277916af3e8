//! Both halves together: page to file, file to disk.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use symbols::files::FileConventions;

use super::disks::{Disk, DiskRange, DiskRanges, Disks};
use super::error::LocateError;
use super::extents::Extents;
use super::file_flags;
use super::file_maps::{FileMap, FileMaps, Layout};
use super::ids::{DiskOffset, FileId, PageNo, SpaceId};
use super::looker::Looker;
use super::mounts::{Backing, Mounts, Names, Seen, Share, Wanted};
use super::process::{MOST_MOUNT_BYTES, Process};
use super::reason::NotOnDisk;
use super::tablespaces::{Changes, Place, Tablespaces};
use crate::kernel_text::Lines;

/// How long the files of a server are waited for where nobody says else.
const PATIENCE: Duration = Duration::from_secs(60);
/// A look that takes longer is worth a word.
const SLOW: Duration = Duration::from_secs(5);

/// Where the bytes of a page lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// These ranges of whole disks, in the order of the page's bytes.
    Disk(DiskRanges),
    /// A share: file and offset say where; [`Locator::share_of`] names the file there.
    Share,
}

/// Finds pages of one server. Call [`refresh`](Self::refresh) before a list is made; lookups then
/// ask the kernel once for each file that they touch.
pub struct Locator {
    tablespaces: Arc<Tablespaces>,
    looker: Looker,
    patience: Duration,
    mounts: Mounts,
    disks: Disks,
    maps: FileMaps,
    round: u64,
    /// Where the last lookup ended: the pages after it mostly lie in the same stretch.
    stretch: Option<Stretch>,
}

/// A run of a file that lies in one piece on one disk.
#[derive(Clone, Copy)]
struct Stretch {
    file: FileId,
    /// First and last byte of the run in the file, the latter exclusive.
    from: u64,
    until: u64,
    /// Where it starts on the disk.
    disk: DiskRange,
}

impl Stretch {
    #[inline]
    fn holds(&self, place: &Place) -> Option<DiskRange> {
        let (start, len) = (place.offset.0, u64::from(place.len_bytes));
        let inside = self.file == place.file && self.from <= start && start + len <= self.until;
        inside.then(|| DiskRange {
            device: self.disk.device,
            offset: DiskOffset(self.disk.offset.0 + (start - self.from)),
            len_bytes: len,
        })
    }
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
            mounts: mounts(&nothing)?,
            tablespaces: nothing,
            looker: looker.map_err(|_| LocateError::Looker)?,
            patience,
            disks: Disks::new(),
            maps: FileMaps::default(),
            round: 0,
            stretch: None,
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
    pub fn refresh(&mut self) -> Result<Changes, LocateError> {
        self.looker.ask();
        self.take(self.patience)
    }

    /// Has the files looked at again, and takes what a look has found; waits no longer than `patience`.
    /// Whether anything new was found.
    ///
    /// # Errors
    /// [`LocateError`] when the process cannot be looked at.
    pub fn poll(&mut self, patience: Duration) -> Result<bool, LocateError> {
        if self.looker.behind().is_zero() {
            self.looker.ask();
        }
        let before = Arc::clone(&self.tablespaces);
        self.take(patience)?;
        Ok(!Arc::ptr_eq(&before, &self.tablespaces))
    }

    fn take(&mut self, patience: Duration) -> Result<Changes, LocateError> {
        let found = self.looker.take(patience).transpose()?;
        let (found, changes) =
            found.unwrap_or_else(|| (Arc::clone(&self.tablespaces), Changes::default()));
        self.mounts = mounts(&found)?;
        if let (Some(notice), None) = (left_out(&found), left_out(&self.tablespaces)) {
            log::warn!("{notice}");
        }
        self.tablespaces = found;
        self.disks.forget_maps();
        let found = &self.tablespaces;
        self.maps.keep(|id| found.file(id).is_some());
        self.round += 1;
        self.stretch = None;
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
                "the server's files have been looked at for {} s: names and places may be old",
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
        self.disks.iter()
    }

    /// The share that a file lies on, once a lookup has led there.
    #[must_use]
    pub fn share_of(&self, file: FileId) -> Option<&Share> {
        match self.maps.get(file)?.layout.as_ref().ok()? {
            Layout::Share(share) => Some(share),
            Layout::Device { .. } => None,
        }
    }

    /// File and offset of a page; asks nobody.
    ///
    /// # Errors
    /// The reason why the page has no place.
    pub fn place(&self, space: SpaceId, page: PageNo) -> Result<Place, NotOnDisk> {
        self.tablespaces.lookup(space, page)
    }

    /// What holds the bytes of a place. Fastest when places come in file order.
    ///
    /// # Errors
    /// The reason why they cannot be read from a disk.
    #[inline]
    pub fn location(&mut self, place: Place) -> Result<Location, NotOnDisk> {
        if let Some(range) = self.stretch.and_then(|stretch| stretch.holds(&place)) {
            return Ok(Location::Disk(DiskRanges::from_iter([range])));
        }
        self.find_location(place)
    }

    /// Number of pages after the one last looked up, at `place`, whose bytes follow it on its disk
    /// without a break: they need no lookup.
    #[must_use]
    pub fn pages_on_disk_after(&self, space: SpaceId, page: PageNo, place: &Place) -> u32 {
        let Some(stretch) = self.stretch.filter(|stretch| stretch.holds(place).is_some()) else {
            return 0;
        };
        let len = u64::from(place.len_bytes);
        let mapped = (stretch.until - place.offset.0 - len) / len;
        let in_file = self.tablespaces.pages_after(space, page);
        u32::try_from(mapped).unwrap_or(u32::MAX).min(in_file)
    }

    fn find_location(&mut self, place: Place) -> Result<Location, NotOnDisk> {
        let round = self.round;
        if self.maps.get(place.file).is_none_or(|map| map.checked_in != round) {
            self.check(place.file)?;
        }
        let map = self.maps.get_mut(place.file).ok_or(NotOnDisk::FileChanged)?;
        let (device, extents) = match &map.layout {
            Ok(Layout::Device { device, extents }) => (*device, extents),
            Ok(Layout::Share(_)) => return Ok(Location::Share),
            Err(reason) => return Err(*reason),
        };
        let device = self.disks.map(device)?;
        let mut ranges = DiskRanges::new();
        extents.resolve(place.offset.0, place.len_bytes.into(), &mut map.hint, |at, len| {
            device.resolve(at, len, &mut ranges)
        })?;
        self.stretch = extents.around(place.offset.0, map.hint).and_then(|(from, len, at)| {
            let mut whole = DiskRanges::new();
            device.resolve(at, len, &mut whole).ok()?;
            // Several disks behind one extent (a linear volume): no stretch, but right.
            let [disk] = whole.as_slice() else { return None };
            Some(Stretch { file: place.file, from, until: from + len, disk: *disk })
        });
        Ok(Location::Disk(ranges))
    }

    /// Makes sure that there is a map of the file that is true in this round.
    fn check(&mut self, id: FileId) -> Result<(), NotOnDisk> {
        let file = self.tablespaces.file(id).ok_or(NotOnDisk::FileChanged)?;
        let now = &file.candidate.stamp;
        if let Some(map) = self.maps.get_mut(id)
            && map.is_true_of(now)
        {
            map.checked_in = self.round;
            return Ok(());
        }
        self.maps.insert(id, FileMap::new(*now, self.round, self.layout(id)))
    }

    fn layout(&self, id: FileId) -> Result<Layout, NotOnDisk> {
        let file = self.tablespaces.file(id).ok_or(NotOnDisk::FileChanged)?;
        let stamp = &file.candidate.stamp;
        let outside = self.tablespaces.view().outside(file.path());
        let names = Names { inside: file.path(), outside: &outside };
        let backing = self.mounts.backing(stamp, names)?;
        let (device, may_be_realtime) = match backing {
            Backing::Share(share) => return Ok(Layout::Share(share)),
            Backing::Device(device) => (device, false),
            Backing::DeviceOrRealtime(device) => (device, true),
        };
        if stamp.encoded {
            return Err(NotOnDisk::ExtentEncoded);
        }
        let (process, view) = (self.tablespaces.process(), self.tablespaces.view());
        let opened = match file.candidate.open(process, view) {
            Ok(Some(opened)) => opened,
            Ok(None) => return Err(NotOnDisk::FileChanged),
            Err(foreign_file::Refusal::FileSystem { .. }) => {
                return Err(NotOnDisk::UnsupportedFilesystem);
            }
            Err(_) => return Err(NotOnDisk::FileUnreadable),
        };
        if may_be_realtime
            && file_flags::is_realtime(&opened).map_err(|_| NotOnDisk::FileUnreadable)?
        {
            return Err(NotOnDisk::RealtimeDevice);
        }
        Ok(Layout::Device { device, extents: Extents::of(&opened)? })
    }
}

/// What to say of files that there was no room for.
fn left_out(tablespaces: &Tablespaces) -> Option<String> {
    let count = tablespaces.left_out();
    (count > 0).then(|| {
        format!(
            "the server has too many files, or too long names: {count} are left out, and their pages are sent"
        )
    })
}

/// The mounts that hold the files.
fn mounts(tablespaces: &Tablespaces) -> Result<Mounts, LocateError> {
    let wanted: Wanted = tablespaces.files().map(|(_, file)| &file.candidate.stamp).collect();
    let mut mounts = Mounts::default();
    if wanted.is_empty() {
        return Ok(mounts);
    }
    let process = tablespaces.process();
    mounts
        .add(&mut process.mountinfo()?, Seen::Inside, &wanted)
        .map_err(|error| process.unreadable("mountinfo", error))?;
    // Without ours a server in a chroot may stand on nothing known; that is a reason, no error.
    if let Ok(own) = File::open("/proc/self/mountinfo") {
        let _ = mounts.add(&mut Lines::of(own, MOST_MOUNT_BYTES), Seen::Outside, &wanted);
    }
    Ok(mounts)
}
