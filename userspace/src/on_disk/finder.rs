//! From ranges of files to ranges of whole disks.

use std::fs::File;

use kernel_text::Lines;
use serde::Serialize;

use super::disks::{Disk, DiskRange, DiskRanges, Disks};
use super::error::ProcessError;
use super::extents::Extents;
use super::file_flags;
use super::file_maps::{FileLayout, FileMap, FileMaps};
use super::ids::{DiskOffset, FileId, FileOffset};
use super::mounts::{Backing, MountTable, Names, Seen, Share, Wanted};
use super::process::MOST_MOUNT_BYTES;
use super::seen_file::Files;
use super::unmapped::Unmapped;

/// A range of bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FileRange {
    /// The file.
    pub file: FileId,
    /// Where the range starts in it.
    pub offset: FileOffset,
    /// Its length in bytes.
    pub len_bytes: u32,
}

/// Where the bytes of a range lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// These ranges of whole disks, in the order of the bytes.
    Disk(DiskRanges),
    /// A share: file and offset are the place; [`DiskFinder::share_of`] names the file there.
    Share,
}

/// Finds what ranges of files lie on. Call [`refresh`](Self::refresh) whenever the files were looked at; lookups then
/// ask the kernel once for each file that they touch.
#[derive(Default)]
pub struct DiskFinder {
    mounts: MountTable,
    disks: Disks,
    maps: FileMaps,
    round: u64,
    /// Where the last lookup ended: the ranges after it mostly lie in the same stretch.
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
    fn holds(&self, range: &FileRange) -> Option<DiskRange> {
        let (start, len) = (range.offset.0, u64::from(range.len_bytes));
        let inside = self.file == range.file && self.from <= start && start + len <= self.until;
        inside.then(|| DiskRange {
            device: self.disk.device,
            offset: DiskOffset(self.disk.offset.0 + (start - self.from)),
            len_bytes: len,
        })
    }
}

impl DiskFinder {
    /// Looks again at mounts and devices; maps are proved or made anew on their next use.
    ///
    /// # Errors
    /// [`ProcessError`] when the process cannot be looked at.
    pub fn refresh(&mut self, files: &dyn Files) -> Result<(), ProcessError> {
        self.mounts = mounts(files)?;
        self.disks.forget_maps();
        self.maps.keep(|id| files.file(id).is_some());
        self.round += 1;
        self.stretch = None;
        Ok(())
    }

    /// The disks that lookups have led to so far.
    pub fn disks(&self) -> impl Iterator<Item = &Disk> {
        self.disks.iter()
    }

    /// The share that a file lies on, once a lookup has led there.
    #[must_use]
    pub fn share_of(&self, file: FileId) -> Option<&Share> {
        match self.maps.get(file)?.layout.as_ref().ok()? {
            FileLayout::Share(share) => Some(share),
            FileLayout::Device { .. } => None,
        }
    }

    /// Where the bytes of a range lie. Fastest when ranges come in file order.
    ///
    /// # Errors
    /// The reason why they cannot be read from a disk.
    #[inline]
    pub fn find(&mut self, files: &dyn Files, range: FileRange) -> Result<Location, Unmapped> {
        if let Some(range) = self.stretch.and_then(|stretch| stretch.holds(&range)) {
            return Ok(Location::Disk(DiskRanges::from_iter([range])));
        }
        self.find_anew(files, range)
    }

    /// Number of ranges of the same length after the one last looked up, which follow it in its file and on its disk
    /// without a break: they need no lookup.
    #[must_use]
    pub fn as_long_after(&self, range: &FileRange) -> u32 {
        let Some(stretch) = self.stretch.filter(|stretch| stretch.holds(range).is_some()) else {
            return 0;
        };
        let len = u64::from(range.len_bytes).max(1);
        u32::try_from((stretch.until - range.offset.0 - len) / len).unwrap_or(u32::MAX)
    }

    fn find_anew(&mut self, files: &dyn Files, range: FileRange) -> Result<Location, Unmapped> {
        let round = self.round;
        if self.maps.get(range.file).is_none_or(|map| map.checked_in != round) {
            self.check(files, range.file)?;
        }
        let map = self.maps.get_mut(range.file).ok_or(Unmapped::FileChanged)?;
        let (device, extents) = match &map.layout {
            Ok(FileLayout::Device { device, extents }) => (*device, extents),
            Ok(FileLayout::Share(_)) => return Ok(Location::Share),
            Err(reason) => return Err(*reason),
        };
        let device = self.disks.map(device)?;
        let mut ranges = DiskRanges::new();
        extents.resolve(range.offset.0, range.len_bytes.into(), &mut map.hint, |at, len| {
            device.resolve(at, len, &mut ranges)
        })?;
        self.stretch = extents.around(range.offset.0, map.hint).and_then(|(from, len, at)| {
            let mut whole = DiskRanges::new();
            device.resolve(at, len, &mut whole).ok()?;
            // Several disks behind one extent (a linear volume): no stretch, but right.
            let [disk] = whole.as_slice() else { return None };
            Some(Stretch { file: range.file, from, until: from + len, disk: *disk })
        });
        Ok(Location::Disk(ranges))
    }

    /// Makes sure that there is a map of the file that is true in this round.
    fn check(&mut self, files: &dyn Files, id: FileId) -> Result<(), Unmapped> {
        let file = files.file(id).ok_or(Unmapped::FileChanged)?;
        let now = &file.stamp;
        if let Some(map) = self.maps.get_mut(id)
            && map.is_true_of(now)
        {
            map.checked_in = self.round;
            return Ok(());
        }
        self.maps.insert(id, FileMap::new(*now, self.round, self.layout(files, id)))
    }

    fn layout(&self, files: &dyn Files, id: FileId) -> Result<FileLayout, Unmapped> {
        let file = files.file(id).ok_or(Unmapped::FileChanged)?;
        let outside = files.view().outside(&file.path);
        let names = Names { inside: &file.path, outside: &outside };
        let backing = self.mounts.backing(&file.stamp, names)?;
        let (device, may_be_realtime) = match backing {
            Backing::Share(share) => return Ok(FileLayout::Share(share)),
            Backing::Device(device) => (device, false),
            Backing::DeviceOrRealtime(device) => (device, true),
        };
        if file.stamp.encoded {
            return Err(Unmapped::ExtentEncoded);
        }
        let opened = match file.open(files.process(), files.view()) {
            Ok(Some(opened)) => opened,
            Ok(None) => return Err(Unmapped::FileChanged),
            Err(foreign_file::Refusal::FileSystem { .. }) => {
                return Err(Unmapped::UnsupportedFilesystem);
            }
            Err(_) => return Err(Unmapped::FileUnreadable),
        };
        if may_be_realtime
            && file_flags::is_realtime(&opened).map_err(|_| Unmapped::FileUnreadable)?
        {
            return Err(Unmapped::RealtimeDevice);
        }
        Ok(FileLayout::Device { device, extents: Extents::of(&opened)? })
    }
}

/// The mounts that hold the files.
fn mounts(files: &dyn Files) -> Result<MountTable, ProcessError> {
    let wanted: Wanted = files.each().map(|file| &file.stamp).collect();
    let mut mounts = MountTable::default();
    if wanted.is_empty() {
        return Ok(mounts);
    }
    let process = files.process();
    mounts
        .add(&mut process.mountinfo()?, Seen::Inside, &wanted)
        .map_err(|error| process.unreadable("mountinfo", error))?;
    // Without ours a process in a chroot may stand on nothing known; that is a reason, no error.
    if let Ok(own) = File::open("/proc/self/mountinfo") {
        let _ = mounts.add(&mut Lines::of(own, MOST_MOUNT_BYTES), Seen::Outside, &wanted);
    }
    Ok(mounts)
}
