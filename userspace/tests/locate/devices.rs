//! Servers on partitions and logical volumes of whole disks that the test can read.

use std::path::{Path, PathBuf};

use test_servers::{Config, Server, skipped};
use userspace::locate::{Locator, NotOnDisk, PageNo};
use userspace::on_disk::Unmapped;

use crate::disk_bytes::compare;
use crate::mysql56::{filled, settle};
use crate::volume::{Loop, Mounted, has_device_mapper, run, with_own_mounts};

const MIB: u64 = 1 << 20;

fn server_on(mounted: &Mounted) -> Server {
    let server = Server::mysql56(Config::new().datadir_in(mounted.path())).unwrap();
    server.query(&filled("shop", 14)).unwrap();
    settle(&server);
    server
}

/// All pages of a server at rest lie where the locator says, on the disk that the partition is of.
fn pages_lie_on_the_disk(fstype: &str) -> (Loop, Mounted, Server, Locator) {
    let disk = Loop::new();
    let mounted = Mounted::made(fstype, &disk.partition());
    let server = server_on(&mounted);
    let mut locator = Locator::open(server.pid()).unwrap();
    let counts = compare(&mut locator, Path::to_owned);
    println!("{fstype} on {}: {counts:?}", disk.partition().display());
    assert_eq!(counts.different, []);
    assert!(counts.equal > 1000, "{counts:?}");

    let known: Vec<_> = locator.disks().cloned().collect();
    assert_eq!(known.len(), 1, "{known:?}");
    assert_eq!(known[0].name, disk.name());
    assert_eq!(known[0].backing_file.as_ref(), Some(&disk.image));
    assert_eq!(known[0].size_bytes, 640 * MIB);
    (disk, mounted, server, locator)
}

#[test]
fn ext4_on_a_partition() {
    with_own_mounts("ext4_on_a_partition", &["mkfs.ext4"], || {
        let (_disk, _mounted, server, mut locator) = pages_lie_on_the_disk("ext4");
        // The server closes the file; what was found of it stays found.
        let (id, _) = file_of(&locator, "shop/t");
        let space = locator.tablespaces().file(id).unwrap().space().unwrap();
        server.query("DROP TABLE shop.t").unwrap();
        let place = locator.locate(space, PageNo(3)).unwrap();
        assert_eq!(locator.refresh().unwrap().removed, 1);
        assert_eq!(locator.location(place), Err(NotOnDisk::File(Unmapped::FileChanged)));
    });
}

#[test]
fn xfs_on_a_partition_and_its_shared_extents() {
    with_own_mounts("xfs_on_a_partition_and_its_shared_extents", &["mkfs.xfs"], || {
        let (_disk, mounted, _server, mut locator) = pages_lie_on_the_disk("xfs");
        let (id, path) = file_of(&locator, "shop/t");
        let space = locator.tablespaces().file(id).unwrap().space().unwrap();
        let place = locator.locate(space, PageNo(3)).unwrap();
        assert!(locator.location(place).is_ok());
        let copy = mounted.path().join("copy");
        run("cp", &["--reflink=always".as_ref(), &path, &copy], "");
        locator.refresh().unwrap();
        assert_eq!(locator.location(place), Err(NotOnDisk::File(Unmapped::ExtentShared)));
    });
}

/// A volume of two segments, each on another disk.
#[test]
fn ext4_on_a_linear_volume() {
    const TEST: &str = "ext4_on_a_linear_volume";
    if !has_device_mapper() {
        return skipped(TEST, "this kernel has no device mapper, or shows it to root only");
    }
    with_own_mounts(TEST, &["mkfs.ext4", "dmsetup"], || {
        let disks = [Loop::new(), Loop::new()];
        let volume = Volume::new(&disks);
        let mounted = Mounted::made("ext4", &volume.path());
        let server = server_on(&mounted);
        let mut locator = Locator::open(server.pid()).unwrap();
        let counts = compare(&mut locator, Path::to_owned);
        println!("linear volume: {counts:?}");
        assert_eq!(counts.different, []);
        assert!(counts.equal > 1000, "{counts:?}");
        let names: Vec<_> = locator.disks().map(|disk| disk.name.clone()).collect();
        assert!(names.iter().all(|name| disks.iter().any(|disk| disk.name() == name)), "{names:?}");
    });
}

/// A device-mapper device, removed with the value.
struct Volume {
    name: String,
}

impl Volume {
    fn new(disks: &[Loop; 2]) -> Self {
        let name = format!("poolferry-test-{}", std::process::id());
        // Small first segment, so that the server's files lie in both.
        let first = 64 * 2048;
        let second = 500 * 2048;
        let table = format!(
            "0 {first} linear {} 4096\n{first} {second} linear {} 8192\n",
            disks[0].partition().display(),
            disks[1].partition().display()
        );
        run("dmsetup", &["create".as_ref(), name.as_ref()], &table);
        Self { name }
    }

    fn path(&self) -> PathBuf {
        Path::new("/dev/mapper").join(&self.name)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let remove = ["remove", "--deferred"];
        let _ = std::process::Command::new("dmsetup").args(remove).arg(&self.name).status();
    }
}

fn file_of(locator: &Locator, name: &str) -> (userspace::on_disk::FileId, PathBuf) {
    let mut files = locator.tablespaces().files();
    let (id, file) = files.find(|(_, file)| file.name() == name).unwrap();
    (id, file.path().to_owned())
}
