//! Eligible pages at rest: what the frame holds, the file holds, and the whole disk.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use test_servers::{Config, Release, Server};
use userspace::memory::ServerAddr;
use userspace::server::Server as Observed;

use crate::lab::{self, on_each_mysql, on_mariadb, open, warm};
use crate::listed::{Listed, eligible, list};
use crate::volume::{Volume, with_own_mounts};

/// Bytes at an address that `O_DIRECT` accepts.
#[repr(align(4096))]
struct Aligned([u8; 16384]);

/// Reads files as the server names them, and whole disks as the list names them.
struct Devices {
    root: PathBuf,
    open: BTreeMap<String, File>,
}

impl Devices {
    fn of(server: &Observed) -> Self {
        Self { root: server.target.root(), open: BTreeMap::new() }
    }

    fn in_file(&mut self, row: &Listed) -> Vec<u8> {
        let name = row.file.as_ref().unwrap();
        let path = self.root.join(Path::new(name).strip_prefix("/").unwrap());
        let file = self.open.entry(name.clone()).or_insert_with(|| File::open(path).unwrap());
        let mut bytes = vec![0; row.gpas.len() * 4096];
        file.read_exact_at(&mut bytes, row.file_offset.unwrap()).unwrap();
        bytes
    }

    /// Past the page cache, which knows nothing of what the file system wrote.
    fn on_disk(&mut self, row: &Listed) -> Vec<u8> {
        let mut bytes = Vec::new();
        for range in &row.disk {
            let disk = self.open.entry(range.device.clone()).or_insert_with(|| {
                let link = fs::read_link(format!("/sys/dev/block/{}", range.device)).unwrap();
                let path = Path::new("/dev").join(link.file_name().unwrap());
                File::options().read(true).custom_flags(libc::O_DIRECT).open(path).unwrap()
            });
            let mut buffer = Box::new(Aligned([0; 16384]));
            let piece = &mut buffer.0[..usize::try_from(range.len).unwrap()];
            disk.read_exact_at(piece, range.offset).unwrap();
            bytes.extend_from_slice(piece);
        }
        bytes
    }
}

/// The frame's bytes, read out of the server's memory.
fn in_frame(server: &Observed, row: &Listed) -> Vec<u8> {
    let mut bytes = vec![0; server.pool_map.page_size as usize];
    server.memory().read(ServerAddr(row.frame_va), &mut bytes).unwrap();
    bytes
}

/// Compares the frame of every eligible page with what `read` gives; returns how many there were.
/// A page that the server changed meanwhile is left out: it is not at rest.
fn assert_equal(server: &Observed, mut read: impl FnMut(&Listed) -> Vec<u8>) -> usize {
    let before = list(server, None);
    let wrong: Vec<&Listed> =
        eligible(&before).filter(|row| read(row) != in_frame(server, row)).collect();
    let after = list(server, None);
    let rested = |row: &&&Listed| after[row.block as usize].held() == row.held();
    let wrong: Vec<_> = wrong.iter().filter(rested).take(3).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    eligible(&before).count()
}

/// Compares with the files.
pub(crate) fn assert_files_hold_the_frames(server: &Server) -> Observed {
    assert_files_hold(server, 100)
}

/// Compares with the files; so many pages must be eligible.
pub(crate) fn assert_files_hold(server: &Server, at_least: usize) -> Observed {
    let observed = open(server);
    let mut devices = Devices::of(&observed);
    let compared = assert_equal(&observed, |row| devices.in_file(row));
    println!("{compared} pages compared");
    assert!(compared >= at_least, "{compared} pages are eligible");
    observed
}

/// On a server whose pages are of plain tables, little may be left out.
fn assert_little_is_left_out(observed: &Observed) {
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for row in list(observed, None).into_iter().filter(|row| row.id().is_some()) {
        *reasons.entry(row.reason.unwrap_or_else(|| "eligible".to_owned())).or_default() += 1;
    }
    println!("{reasons:?}");
    let resident: usize = reasons.values().sum();
    assert!(reasons["eligible"] * 10 > resident * 9, "of {resident} pages: {reasons:?}");
}

fn files_hold_the_frames(release: Release) {
    let server = warm(release, Config::new().pool_mib(96));
    assert_little_is_left_out(&assert_files_hold_the_frames(&server));
}

/// On a disk that the test can read as a whole: a file system on a loop device.
fn disks_hold_the_frames(release: Release) {
    let volume = Volume::new();
    let server = warm(release, Config::new().pool_mib(96).datadir_in(volume.path()));
    rustix::fs::sync();
    let observed = assert_files_hold_the_frames(&server);
    let mut devices = Devices::of(&observed);
    let compared = assert_equal(&observed, |row| devices.on_disk(row));
    println!("{compared} pages compared with {}", volume.device());
    assert!(compared > 2000, "{compared} pages are eligible");
    let rows = list(&observed, None);
    let device = volume.device();
    assert!(eligible(&rows).flat_map(|row| &row.disk).all(|range| range.device == device));
}

on_each_mysql!(files_hold_the_frames);
on_mariadb!(files_hold_the_frames: files_of_mariadb_hold_the_frames);

mod disks_hold_the_frames {
    use super::{Release, lab, with_own_mounts};

    #[test]
    fn mysql56() {
        let name = concat!(module_path!(), "::mysql56");
        lab::run(name, Release::Mysql56, |release| {
            with_own_mounts(name, move || super::disks_hold_the_frames(release));
        });
    }

    #[test]
    fn mysql97() {
        let name = concat!(module_path!(), "::mysql97");
        lab::run(name, Release::Mysql97, |release| {
            with_own_mounts(name, move || super::disks_hold_the_frames(release));
        });
    }
}
