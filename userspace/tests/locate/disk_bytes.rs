//! The proof of a place: the bytes that the whole disk holds there are the bytes of the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use userspace::locate::{Locator, NotOnDisk, PageNo, SpaceId};
use userspace::on_disk::{FileId, FileRange, Location, Unmapped};

/// Largest page; a buffer of this size holds any.
const MAX_PAGE: usize = 64 * 1024;

/// Bytes at an address that `O_DIRECT` accepts.
#[repr(align(4096))]
struct Aligned([u8; MAX_PAGE]);

/// How the pages of some spaces fared.
#[derive(Debug, Default)]
pub(crate) struct PageCounts {
    /// Pages whose bytes on the disk are those of the file.
    pub(crate) equal: usize,
    /// Pages whose bytes differ.
    pub(crate) different: Vec<(SpaceId, PageNo)>,
    /// Pages without a place, by reason.
    pub(crate) refused: BTreeMap<NotOnDisk, usize>,
}

/// Whole disks opened past the page cache.
#[derive(Default)]
pub(crate) struct WholeDisks {
    open: BTreeMap<String, File>,
}

impl WholeDisks {
    /// Reads a page from the disks it lies on; `None` when it lies on none.
    pub(crate) fn read(
        &mut self,
        locator: &mut Locator,
        place: FileRange,
    ) -> Result<Vec<u8>, NotOnDisk> {
        let Location::Disk(ranges) = locator.location(place)? else { panic!("a share") };
        let mut page = Vec::new();
        for range in ranges {
            let disk = locator.disks().find(|disk| disk.device == range.device).unwrap();
            let file = self.open.entry(disk.name.clone()).or_insert_with(|| {
                let path = Path::new("/dev").join(&disk.name);
                let direct = File::options().read(true).custom_flags(libc::O_DIRECT).open(&path);
                direct.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            });
            let mut buffer = Box::new(Aligned([0; MAX_PAGE]));
            let bytes = &mut buffer.0[..usize::try_from(range.len_bytes).unwrap()];
            file.seek(SeekFrom::Start(range.offset.0)).unwrap();
            file.read_exact(bytes).unwrap();
            page.extend_from_slice(bytes);
        }
        Ok(page)
    }
}

/// Compares every page of every space of a server at rest. `outside` turns the server's path of a
/// file into ours.
pub(crate) fn compare(
    locator: &mut Locator,
    outside: impl Fn(&Path) -> std::path::PathBuf,
) -> PageCounts {
    rustix::fs::sync();
    locator.refresh().unwrap();
    let mut counts = PageCounts::default();
    let mut disks = WholeDisks::default();
    let spaces: Vec<(FileId, SpaceId, u64, std::path::PathBuf)> = locator
        .tablespaces()
        .files()
        .filter_map(|(id, file)| Some((id, file.space()?, file.size_bytes(), outside(file.path()))))
        .collect();
    for (id, space, size, path) in spaces {
        let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let total = u32::try_from(size / 4096).unwrap();
        for page in (0..total).map(PageNo) {
            let place = match locator.locate(space, page) {
                Ok(place) if place.file == id => place,
                Ok(_) | Err(NotOnDisk::File(Unmapped::BeyondEof)) => continue,
                Err(reason) => {
                    *counts.refused.entry(reason).or_default() += 1;
                    continue;
                }
            };
            let mut expected = vec![0; usize::try_from(place.len_bytes).unwrap()];
            file.read_exact_at(&mut expected, place.offset.0).unwrap();
            match disks.read(locator, place) {
                Ok(found) if found == expected => counts.equal += 1,
                Ok(_) => counts.different.push((space, page)),
                Err(reason) => *counts.refused.entry(reason).or_default() += 1,
            }
        }
    }
    counts
}

/// Makes sure that the system tablespace lies on disks that can be read here.
///
/// # Errors
/// The reason why not, for people.
pub(crate) fn readable(locator: &mut Locator) -> Result<(), String> {
    let place = locator.locate(SpaceId::SYSTEM, PageNo(1)).unwrap();
    match locator.location(place) {
        Ok(Location::Disk(_)) => {}
        Ok(Location::Share) => return Err("the data directory is on a share".into()),
        Err(reason) => return Err(format!("the data directory is on no known disk: {reason}")),
    }
    for disk in locator.disks() {
        let path = Path::new("/dev").join(&disk.name);
        File::open(&path).map_err(|error| format!("`{}`: {error}", path.display()))?;
    }
    Ok(())
}
