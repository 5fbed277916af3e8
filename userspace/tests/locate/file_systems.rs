//! Files that no server would write, and file systems that no page can be read from: what counts is
//! the reason. The process that is looked at is one that only holds a directory and a file open.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::{FallocateFlags, Mode, fallocate, mknodat};
use userspace::locate::{Locator, NotOnDisk, PageNo, SpaceId};
use userspace::on_disk::{Location, Unmapped};

use crate::volume::{Loop, Mounted, with_own_mounts};

const PAGE: u64 = 16384;

/// A process whose current directory is the data directory.
pub(crate) struct Observed(Child);

impl Observed {
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self::holding(folder, Stdio::null())
    }

    /// One that holds these files open, under its descriptors from 3 on.
    pub(crate) fn with_open(folder: &Path, files: &[&Path]) -> Self {
        let numbers =
            files.iter().zip(3..).map(|(_, number)| format!("exec {number}<>\"$1\"; shift"));
        let script = numbers.chain(["echo; exec sleep 300".into()]).collect::<Vec<_>>().join("; ");
        let mut command = Command::new("bash");
        command.arg("-c").arg(script).arg("sh").args(files).current_dir(folder);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        // It has said that all are open.
        let mut end = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut end).unwrap();
        Self(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    fn holding(folder: &Path, file: impl Into<Stdio>) -> Self {
        let mut command = Command::new("sleep");
        Self(command.arg("300").current_dir(folder).stdin(file).spawn().unwrap())
    }

    pub(crate) fn locator(&self) -> Locator {
        Locator::open(self.pid()).unwrap()
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes page 0 of a space, as a server without checksums does (`BUF_NO_CHECKSUM_MAGIC`).
fn write_header(file: &File, space: u32, flags: u32) {
    let mut page = vec![0; 16384];
    for at in [0, 16384 - 8] {
        page[at..at + 4].copy_from_slice(&0xdead_beef_u32.to_be_bytes());
    }
    page[24..26].copy_from_slice(&8_u16.to_be_bytes());
    page[34..38].copy_from_slice(&space.to_be_bytes());
    page[38..42].copy_from_slice(&space.to_be_bytes());
    page[46..50].copy_from_slice(&1_u32.to_be_bytes());
    page[54..58].copy_from_slice(&flags.to_be_bytes());
    file.write_all_at(&page, 0).unwrap();
}

pub(crate) fn table(folder: &Path, name: &str, space: u32) -> File {
    let path = folder.join("shop").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = File::create(path).unwrap();
    write_header(&file, space, 0);
    file
}

fn location(locator: &mut Locator, space: u32, page: u32) -> Result<Location, NotOnDisk> {
    let place = locator.locate(SpaceId(space), PageNo(page))?;
    locator.location(place)
}

/// Holes, unwritten, delayed and punched pages, each beside a page that is all there.
#[test]
fn every_kind_of_extent() {
    with_own_mounts("every_kind_of_extent", &["mkfs.ext4"], || {
        let disk = Loop::new();
        let mounted = Mounted::made("ext4", &disk.partition());
        let file = table(mounted.path(), "t.ibd", 9);
        let full = vec![0xa5; 16384];
        file.write_all_at(&full, PAGE).unwrap();
        file.write_all_at(&full[..4096], 3 * PAGE).unwrap();
        fallocate(&file, FallocateFlags::empty(), 4 * PAGE, PAGE).unwrap();
        file.set_len(8 * PAGE).unwrap();
        file.sync_all().unwrap();
        let observed = Observed::in_folder(mounted.path());
        let mut locator = observed.locator();
        assert!(matches!(location(&mut locator, 9, 1), Ok(Location::Disk(_))));
        assert_eq!(location(&mut locator, 9, 2), Err(NotOnDisk::File(Unmapped::ExtentHole)));
        assert_eq!(location(&mut locator, 9, 3), Err(NotOnDisk::PageCompressed));
        assert_eq!(location(&mut locator, 9, 4), Err(NotOnDisk::File(Unmapped::ExtentUnwritten)));
        assert_eq!(location(&mut locator, 9, 8), Err(NotOnDisk::File(Unmapped::BeyondEof)));

        file.write_all_at(&full, 5 * PAGE).unwrap();
        locator.refresh().unwrap();
        assert_eq!(location(&mut locator, 9, 5), Err(NotOnDisk::File(Unmapped::ExtentDelayed)));
        file.sync_all().unwrap();
        locator.refresh().unwrap();
        assert!(matches!(location(&mut locator, 9, 5), Ok(Location::Disk(_))));

        // A sampled page that says it is compressed speaks for its whole space.
        file.write_all_at(&14_u16.to_be_bytes(), 5 * PAGE + 24).unwrap();
        locator.refresh().unwrap();
        assert_eq!(location(&mut locator, 9, 1), Err(NotOnDisk::PageCompressed));
    });
}

/// File systems whose extents are not addresses on a disk.
#[test]
fn file_systems_without_places() {
    with_own_mounts("file_systems_without_places", &["mkfs.btrfs"], || {
        let reason = |folder: &Path| {
            let file = table(folder, "t.ibd", 9);
            file.write_all_at(&[1; 16384], PAGE).unwrap();
            file.sync_all().unwrap();
            let observed = Observed::in_folder(folder);
            location(&mut observed.locator(), 9, 1)
        };
        let memory = Mounted::new(&["-t", "tmpfs"], Path::new("none"));
        assert_eq!(reason(memory.path()), Err(NotOnDisk::File(Unmapped::UnsupportedFilesystem)));

        let disk = Loop::new();
        let btrfs = Mounted::made("btrfs", &disk.partition());
        assert_eq!(reason(btrfs.path()), Err(NotOnDisk::File(Unmapped::CopyOnWrite)));

        let layers = ["lower", "upper", "work"].map(|name| memory.path().join(name));
        layers.iter().for_each(|layer| fs::create_dir(layer).unwrap());
        let [lower, upper, work] = layers.each_ref().map(|layer| layer.display());
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        let overlay = Mounted::new(&["-t", "overlay", "-o", &options], Path::new("overlay"));
        assert_eq!(reason(overlay.path()), Err(NotOnDisk::File(Unmapped::Overlay)));
    });
}

/// Of two files that claim a space the open one counts; two closed ones cancel each other; a dropped
/// one says so.
#[test]
fn claims_to_one_space() {
    let folder = tempfile::tempdir().unwrap();
    let size = |file: &File| file.set_len(8 * PAGE).unwrap();
    let held = table(folder.path(), "held.ibd", 5);
    for file in [&held, &table(folder.path(), "copy.ibd", 5)] {
        size(file);
    }
    for name in ["one.ibd", "two.ibd"] {
        size(&table(folder.path(), name, 6));
    }
    let observed = Observed::holding(folder.path(), held);
    let mut locator = observed.locator();
    let place = locator.locate(SpaceId(5), PageNo(3)).unwrap();
    let path = locator.tablespaces().file(place.file).unwrap().path().to_owned();
    assert_eq!(path, folder.path().canonicalize().unwrap().join("shop/held.ibd"));
    assert_eq!(locator.locate(SpaceId(6), PageNo(3)), Err(NotOnDisk::AmbiguousSpace));

    fs::remove_file(path).unwrap();
    fs::remove_file(folder.path().join("shop/copy.ibd")).unwrap();
    fs::remove_file(folder.path().join("shop/two.ibd")).unwrap();
    locator.refresh().unwrap();
    assert_eq!(locator.locate(SpaceId(5), PageNo(3)), Err(NotOnDisk::Dropped));
    assert!(locator.locate(SpaceId(6), PageNo(3)).is_ok());
}

/// Nothing that may lie in a data directory makes the search fail, wait or believe it.
#[test]
fn hostile_data_directory() {
    let folder = tempfile::tempdir().unwrap();
    let shop = folder.path().join("shop");
    table(folder.path(), "good.ibd", 5).set_len(8 * PAGE).unwrap();
    table(folder.path(), "zero.ibd", 0).set_len(8 * PAGE).unwrap();
    fs::write(shop.join("short.ibd"), [0xff; 20]).unwrap();
    fs::write(shop.join("zeros.ibd"), [0; 20000]).unwrap();
    fs::write(shop.join("noise.ibd"), [0xff; 20000]).unwrap();
    fs::create_dir(shop.join("folder.ibd")).unwrap();
    symlink("loop.ibd", shop.join("loop.ibd")).unwrap();
    symlink("nowhere.ibd", shop.join("dangling.ibd")).unwrap();
    symlink("/proc/self/mem", shop.join("memory.ibd")).unwrap();
    symlink("..", shop.join("up")).unwrap();
    let mode = Mode::RUSR | Mode::WUSR;
    for name in ["pipe.ibd", "pipe.isl"] {
        mknodat(rustix::fs::CWD, shop.join(name), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }
    fs::write(shop.join("noise.isl"), [0xff; 9000]).unwrap();
    fs::write(shop.join("device.isl"), "/dev/zero").unwrap();
    fs::write(shop.join("relative.isl"), "../../x.ibd").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let linked = elsewhere.path().join("linked.ibd");
    fs::copy(shop.join("good.ibd"), &linked).unwrap();
    write_header(&File::options().write(true).open(&linked).unwrap(), 7, 0x400);
    fs::write(shop.join("linked.isl"), format!("{}\n", linked.display())).unwrap();
    // A database, and a table, by symbolic link.
    table(elsewhere.path(), "inside.ibd", 8).set_len(8 * PAGE).unwrap();
    symlink(elsewhere.path().join("shop"), folder.path().join("other")).unwrap();
    table(elsewhere.path(), "single.data", 9).set_len(8 * PAGE).unwrap();
    symlink(elsewhere.path().join("shop/single.data"), shop.join("single.ibd")).unwrap();

    let observed = Observed::in_folder(folder.path());
    let locator = observed.locator();
    let refused = |name: &str| {
        let mut files = locator.tablespaces().files();
        files.find(|(_, file)| file.path().ends_with(name)).map(|(_, file)| file.refused())
    };
    for space in [5, 7, 8, 9] {
        assert_eq!(locator.locate(SpaceId(space), PageNo(3)).err(), None, "space {space}");
    }
    assert_eq!(locator.locate(SpaceId(0), PageNo(3)), Err(NotOnDisk::SpaceNotOpen));
    assert_eq!(refused("zeros.ibd"), Some(Some(NotOnDisk::HeaderUnwritten)));
    assert_eq!(refused("noise.ibd"), Some(Some(NotOnDisk::HeaderInvalid)));
    for name in ["short.ibd", "folder.ibd", "loop.ibd", "dangling.ibd", "pipe.ibd", "memory.ibd"] {
        assert_eq!(refused(name), None, "{name}");
    }
}

/// A process that cannot be there has a plain error with a remedy.
#[test]
fn no_such_process() {
    let error = Locator::open(u32::MAX).err().unwrap();
    assert_eq!(error.to_string(), format!("process {} is gone", u32::MAX));
    assert!(error.hint().is_some());
}
