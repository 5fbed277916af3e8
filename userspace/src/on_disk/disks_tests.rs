//! Device stacks that this kernel may not have, laid out as sysfs lays them out.

use std::fs;
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

/// A disk of 64 MiB with one partition of 32 MiB at 1 MiB; a second disk; an md array; a zram.
fn sysfs() -> tempfile::TempDir {
    let sysfs = tempfile::tempdir().unwrap();
    let hardware = sysfs.path().join("devices/pci0000:00/0000:00:02.0/virtio1");
    let disk = hardware.join("block/vda");
    let write = |path: PathBuf, text: &str| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let device = |number: &str, folder: &Path, sectors: u64| {
        write(folder.join("size"), &format!("{sectors}\n"));
        write(folder.join("dev"), &format!("{number}\n"));
        fs::create_dir_all(folder.join("slaves")).unwrap();
        fs::create_dir_all(sysfs.path().join("dev/block")).unwrap();
        symlink(folder, sysfs.path().join("dev/block").join(number)).unwrap();
    };
    device("254:0", &disk, 64 * 2048);
    write(disk.join("serial"), " data-01 \n");
    write(disk.join("queue/logical_block_size"), "4096\n");
    symlink(&hardware, disk.join("device")).unwrap();
    device("254:1", &disk.join("vda1"), 32 * 2048);
    write(disk.join("vda1/partition"), "1\n");
    write(disk.join("vda1/start"), "2048\n");
    let other = sysfs.path().join("devices/pci0000:00/0000:00:03.0/virtio2/block/vdb");
    device("254:16", &other, 64 * 2048);
    symlink(other.join("../.."), other.join("device")).unwrap();
    for minor in 0..4 {
        let volume = sysfs.path().join(format!("devices/virtual/block/dm-{minor}"));
        device(&format!("253:{minor}"), &volume, 16 * 2048);
        write(volume.join("dm/name"), "vg-data\n");
        write(volume.join("slaves/vda1"), "");
    }
    let array = sysfs.path().join("devices/virtual/block/md0");
    device("9:0", &array, 64 * 2048);
    write(array.join("slaves/vda"), "");
    device("252:0", &sysfs.path().join("devices/virtual/block/zram0"), 64 * 2048);
    sysfs
}

fn tables(device: DeviceId) -> io::Result<Vec<DmTarget>> {
    let target = |start_sector, sectors, on| {
        let linear = Option::map(on, |(major, minor, sector)| (DeviceId { major, minor }, sector));
        DmTarget { start_sector, sectors, linear }
    };
    match device.minor {
        0 => Ok(vec![
            target(0, 8 * 2048, Some((254, 1, 4 * 2048))),
            target(8 * 2048, 8 * 2048, Some((254, 16, 384))),
        ]),
        1 => Ok(vec![target(0, 16 * 2048, Some((253, 0, 0)))]), // a volume on a volume
        2 => Ok(vec![
            target(0, 8 * 2048, Some((254, 16, 0))),
            target(8 * 2048, 8 * 2048, None), // crypt
        ]),
        _ => Ok(vec![target(0, 16 * 2048, Some((253, 3, 0)))]), // on itself, which cannot be
    }
}

fn ranges(
    disks: &mut Disks,
    device: (u32, u32),
    start: u64,
    len: u64,
) -> Result<Vec<(String, u64, u64)>, Unmapped> {
    let mut ranges = DiskRanges::new();
    let device = DeviceId { major: device.0, minor: device.1 };
    disks.map(device)?.resolve(start, len, &mut ranges)?;
    Ok(ranges.iter().map(|r| (r.device.to_string(), r.offset.0, r.len_bytes)).collect())
}

fn on(device: &str, offset: u64, len: u64) -> (String, u64, u64) {
    (device.to_owned(), offset, len)
}

#[test]
fn a_partition_starts_where_it_says() {
    let sysfs = sysfs();
    let mut disks = Disks::at(sysfs.path(), tables);
    assert_eq!(ranges(&mut disks, (254, 0), 4096, 512), Ok(vec![on("254:0", 4096, 512)]));
    assert_eq!(ranges(&mut disks, (254, 1), 4096, 512), Ok(vec![on("254:0", MIB + 4096, 512)]));
    assert_eq!(ranges(&mut disks, (254, 1), 32 * MIB, 512), Err(Unmapped::UnknownDevice));
    let known: Vec<_> = disks.iter().collect();
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].serial.as_deref(), Some("data-01"));
    assert_eq!(known[0].pci, ["0000:00:02.0"]);
    assert_eq!(known[0].logical_block_bytes, 4096);
    assert_eq!(known[0].hardware_path.as_deref(), Some("pci0000:00/0000:00:02.0/virtio1"));
}

#[test]
fn a_linear_volume_spans_disks() {
    let sysfs = sysfs();
    let mut disks = Disks::at(sysfs.path(), tables);
    let both = vec![on("254:0", 13 * MIB - 8192, 8192), on("254:16", 384 * 512, 8192)];
    assert_eq!(ranges(&mut disks, (253, 0), 8 * MIB - 8192, 16384), Ok(both.clone()));
    assert_eq!(ranges(&mut disks, (253, 1), 8 * MIB - 8192, 16384), Ok(both));
}

/// A reason belongs to the part that it is true of.
#[test]
fn other_layers_are_refused() {
    let sysfs = sysfs();
    let mut disks = Disks::at(sysfs.path(), tables);
    assert_eq!(ranges(&mut disks, (253, 2), 0, 512), Ok(vec![on("254:16", 0, 512)]));
    assert_eq!(ranges(&mut disks, (253, 2), 9 * MIB, 512), Err(Unmapped::StackedDevice));
    assert_eq!(ranges(&mut disks, (253, 3), 0, 512), Err(Unmapped::StackedDevice));
    assert_eq!(ranges(&mut disks, (9, 0), 0, 512), Err(Unmapped::StackedDevice));
    assert_eq!(ranges(&mut disks, (252, 0), 0, 512), Err(Unmapped::UnknownDevice));
    assert_eq!(ranges(&mut disks, (7, 7), 0, 512), Err(Unmapped::UnknownDevice));
}

/// A loop device of this machine; it ends with this.
struct Loop(String);

impl Loop {
    fn command(arguments: &[&str]) -> Option<String> {
        let output = std::process::Command::new("losetup").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    }

    fn lie_on(&self, file: &Path) {
        Self::command(&[&self.0, file.to_str().unwrap()]).expect("losetup");
    }

    fn end(&self) {
        Self::command(&["--detach", &self.0]).expect("losetup --detach");
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        Self::command(&["--detach", &self.0]);
    }
}

/// With real devices: the second disk has the first one's name and number.
#[test]
fn a_disk_that_takes_the_number_of_another_is_another() {
    const TEST: &str = "a_disk_that_takes_the_number_of_another_is_another";
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let file = |name: &str| {
        let path = folder.path().join(name);
        fs::File::create(&path).unwrap().set_len(4 * MIB).unwrap();
        path
    };
    let (one, two) = (file("one"), file("two"));
    let free = Loop::command(&["--find", "--show", one.to_str().unwrap()]);
    let Some(disk) = free.map(Loop) else {
        return test_servers::skipped(TEST, "no loop device can be had here");
    };
    let dev = Path::new("/sys/block").join(disk.0.trim_start_matches("/dev/")).join("dev");
    let device = DeviceId::parse(&fs::read_to_string(dev).unwrap()).unwrap();
    let mut disks = Disks::default();
    let backing = |disks: &mut Disks| {
        disks.map(device).unwrap();
        let known = disks.iter().find(|known| known.device == device).unwrap();
        known.backing_file.clone().unwrap()
    };
    assert_eq!(backing(&mut disks), one);
    disks.forget_maps();
    assert_eq!(backing(&mut disks), one);
    disk.end();
    disk.lie_on(&two);
    disks.forget_maps();
    assert_eq!(backing(&mut disks), two, "the disk of before");
}

/// What is asked of a disk is asked of the disk itself (a request of virtio-blk): once, while it is known to be the same.
#[test]
fn a_disk_is_asked_again_only_when_it_may_be_another() {
    let sysfs = sysfs();
    let folder = sysfs.path().join("devices/pci0000:00/0000:00:02.0/virtio1/block/vda");
    let mut disks = Disks::at(sysfs.path(), tables);
    let device = DeviceId { major: 254, minor: 0 };
    let mut serial = |sequence: Option<&str>, serial: &str| {
        match sequence {
            Some(sequence) => fs::write(folder.join("diskseq"), sequence).unwrap(),
            None => fs::remove_file(folder.join("diskseq")).unwrap(),
        }
        fs::write(folder.join("serial"), serial).unwrap();
        disks.forget_maps();
        disks.map(device).unwrap();
        disks.iter().next().unwrap().serial.clone().unwrap()
    };
    assert_eq!(serial(Some("7\n"), "a\n"), "a");
    assert_eq!(serial(Some("7\n"), "b\n"), "a", "the same disk");
    assert_eq!(serial(Some("8\n"), "b\n"), "b");
    // A kernel without the attribute.
    assert_eq!(serial(None, "c\n"), "c");
    fs::write(folder.join("diskseq"), "8\n").unwrap();
    assert_eq!(serial(None, "d\n"), "d");
}

#[test]
fn pci_functions_are_told_from_other_names() {
    for name in ["0000:00:02.0", "10000:e1:00.0"] {
        assert!(is_pci_function(name), "{name}");
    }
    for name in ["pci0000:00", "virtio1", "0:0:1:0", "0000:00:02", ""] {
        assert!(!is_pci_function(name), "{name}");
    }
}

proptest! {
    /// Any window of any segments stays within itself.
    #[test]
    fn windows_stay_within(start in any::<u64>(), len in any::<u64>(), at in any::<u64>(), base in any::<u64>()) {
        let device = DeviceId { major: 1, minor: 1 };
        let inner = [Segment { start: 0, len: 1 << 40, on: Ok((device, base)) }];
        for segment in window(&inner, start, len, at) {
            prop_assert!(segment.start >= at && segment.len <= len);
            prop_assert!(segment.start.checked_add(segment.len).is_some());
        }
    }
}
