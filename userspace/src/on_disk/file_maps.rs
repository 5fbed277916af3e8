//! Where the bytes of files lie on their devices, as far as it was needed.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::extents::Extents;
use super::ids::{DeviceId, FileId};
use super::mounts::Share;
use super::room::Room;
use super::stamp::Stamp;
use super::unmapped::Unmapped;

/// How long a map is used again for a file that looks unchanged. Allocation, truncation and hole
/// punching show in size, blocks and change time; defragmenting (`e4defrag`, `xfs_fsr`) moves
/// blocks and leaves all three as they are.
const MAX_AGE: Duration = Duration::from_secs(30);
/// What the maps of all files may take: some 300,000 extents.
const MOST_BYTES: usize = 12 << 20;
/// What a map takes beside what it holds.
const MAP_BYTES: usize = 2 * size_of::<FileMap>();

/// One file on its device, as it was when it was mapped.
pub(super) struct FileMap {
    stamp: Stamp,
    mapped_at: Instant,
    /// The last round in which the map was found good.
    pub(super) checked_in: u64,
    pub(super) layout: Result<FileLayout, Unmapped>,
    /// Where the last search among the extents ended.
    pub(super) hint: usize,
}

pub(super) enum FileLayout {
    Device { device: DeviceId, extents: Extents },
    Share(Share),
}

impl FileMap {
    /// Made just now.
    pub(super) fn new(stamp: Stamp, round: u64, layout: Result<FileLayout, Unmapped>) -> Self {
        Self { stamp, mapped_at: Instant::now(), checked_in: round, layout, hint: 0 }
    }

    /// Whether it is still true of a file that looks so.
    pub(super) fn is_true_of(&self, now: &Stamp) -> bool {
        self.mapped_at.elapsed() < MAX_AGE && now.proves_unchanged_since(&self.stamp)
    }

    fn bytes(&self) -> usize {
        let held = match &self.layout {
            Ok(FileLayout::Device { extents, .. }) => extents.bytes(),
            Ok(FileLayout::Share(share)) => share.bytes(),
            Err(_) => 0,
        };
        MAP_BYTES + held
    }
}

/// The maps of all files, as many as there is room for.
pub(super) struct FileMaps {
    maps: FxHashMap<FileId, FileMap>,
    room: Room,
}

impl Default for FileMaps {
    fn default() -> Self {
        Self { maps: FxHashMap::default(), room: Room::of(MOST_BYTES) }
    }
}

impl FileMaps {
    pub(super) fn get(&self, file: FileId) -> Option<&FileMap> {
        self.maps.get(&file)
    }

    pub(super) fn get_mut(&mut self, file: FileId) -> Option<&mut FileMap> {
        self.maps.get_mut(&file)
    }

    /// Forgets all but these.
    pub(super) fn keep(&mut self, mut is_there: impl FnMut(FileId) -> bool) {
        let Self { maps, room } = self;
        maps.retain(|file, map| {
            let stays = is_there(*file);
            if !stays {
                room.give_back(map.bytes());
            }
            stays
        });
    }

    /// Takes a map in place of an older one.
    ///
    /// # Errors
    /// There is no room for it.
    pub(super) fn insert(&mut self, file: FileId, mut map: FileMap) -> Result<(), Unmapped> {
        if let Some(old) = self.maps.remove(&file) {
            self.room.give_back(old.bytes());
        }
        if !self.room.has(map.bytes()) {
            map.layout = Err(Unmapped::ExtentsTooMany);
        }
        if !self.room.take(map.bytes()) {
            return Err(Unmapped::ExtentsTooMany);
        }
        self.maps.insert(file, map);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn what_has_no_room_has_no_place_and_gives_way_when_there_is() {
        let stamp = Stamp::of_file(tempfile::tempfile().unwrap()).unwrap();
        let map = |bytes: usize| {
            let path = PathBuf::from("x".repeat(bytes));
            let share = Share { fstype: String::new(), source: String::new(), path };
            FileMap::new(stamp, 1, Ok(FileLayout::Share(share)))
        };
        let mut maps = FileMaps::default();
        let is_placed = |maps: &FileMaps, file| maps.get(FileId(file)).unwrap().layout.is_ok();
        for file in 0..3 {
            maps.insert(FileId(file), map(MOST_BYTES / 2 - 10_000)).unwrap();
        }
        assert!(is_placed(&maps, 0) && is_placed(&maps, 1) && !is_placed(&maps, 2));
        maps.insert(FileId(1), map(10)).unwrap();
        maps.insert(FileId(2), map(MOST_BYTES / 2 - 10_000)).unwrap();
        assert!(is_placed(&maps, 2));
        let few = (10..).find(|file| maps.insert(FileId(*file), map(1000)).is_err()).unwrap();
        assert!(few < 100);
        maps.keep(|_| false);
        assert!(maps.room.has(MOST_BYTES) && !maps.room.has(MOST_BYTES + 1));
    }
}
