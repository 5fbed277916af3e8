//! A QEMU with RAM in a memfd and one disk.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use qemu_glue::guest::GuestRam;
use qemu_glue::qmp::Qmp;
use tempfile::TempDir;
use test_qemus::QemuRelease;

/// RAM of the VMs.
pub(crate) const RAM_BYTES: u64 = 64 << 20;
const RAM: &str = "memory-backend-memfd,id=mem0,size=64M,share=on";
/// Pages of the disk.
pub(crate) const DISK_PAGES: u64 = 1024;

/// What page `number` of the disk has.
pub(crate) fn page(number: u64) -> [u8; 4096] {
    let mut bytes = [0; 4096];
    for (at, word) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *word = (number << 32 | at as u64 | 1 << 63).to_le_bytes();
    }
    bytes
}

/// The releases that are here; the skip line for each that is not.
pub(crate) fn releases(test: &str) -> Vec<test_qemus::Qemu> {
    let all = [QemuRelease::Q72, QemuRelease::Q100, QemuRelease::Q111];
    let installed = all.into_iter().map(|release| (release, release.installed()));
    let found = installed.filter_map(|(release, found)| {
        found.inspect_err(|why| println!("skipped: {test} ({release}): {why:#}")).ok()
    });
    found.collect()
}

/// The newest release that is here.
pub(crate) fn newest(test: &str) -> Option<test_qemus::Qemu> {
    releases(test).pop()
}

/// Files of one test.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        // Sockets want short paths, disks a real file system.
        let dir = TempDir::with_prefix_in("receive-", "/var/tmp").unwrap();
        let disk = File::create(dir.path().join("disk.raw")).unwrap();
        for number in 0..DISK_PAGES {
            disk.write_all_at(&page(number), number * 4096).unwrap();
        }
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// A running QEMU; it ends with this.
pub(crate) struct Vm {
    child: Child,
    pub(crate) socket: PathBuf,
}

impl Vm {
    /// A destination, with other options in place of the memory backend's where `memory` has some.
    pub(crate) fn destination(
        qemu: &test_qemus::Qemu,
        place: &Place,
        memory: Option<&str>,
        more: &[&str],
    ) -> Self {
        let arguments = [&["-incoming", "defer"], more].concat();
        Self::start(qemu, place, "destination", memory.unwrap_or(RAM), &arguments)
    }

    /// A VM that runs its firmware.
    pub(crate) fn source(qemu: &test_qemus::Qemu, place: &Place) -> Self {
        Self::start(qemu, place, "source", RAM, &[])
    }

    fn start(
        qemu: &test_qemus::Qemu,
        place: &Place,
        name: &str,
        memory: &str,
        more: &[&str],
    ) -> Self {
        let socket = place.path(&format!("{name}.qmp"));
        let mut command = qemu.command();
        command.args(["-nodefaults", "-display", "none", "-accel", "tcg", "-m", "64M"]);
        command.args(["-machine", "q35,memory-backend=mem0", "-object", memory]);
        command.arg("-drive").arg(drive(&place.path("disk.raw")));
        command.args(["-device", "virtio-blk-pci,drive=disk0,serial=data"]);
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", socket.display()));
        command.args(more).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "QEMU ended");
            assert!(begun.elapsed() < Duration::from_secs(60), "QEMU does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, socket }
    }

    pub(crate) async fn qmp(&self) -> Qmp {
        Qmp::connect(&self.socket).await.unwrap()
    }

    /// The file of its RAM.
    pub(crate) async fn memory(&self) -> File {
        let qmp = self.qmp().await;
        let ram = GuestRam::writable(&qmp, qmp.peer_pid().unwrap()).await.unwrap();
        ram.blocks().iter().find(|block| block.name == "mem0").unwrap().file.try_clone().unwrap()
    }
}

fn drive(disk: &Path) -> String {
    // Both VMs have it open; neither writes.
    let options = "if=none,id=disk0,format=raw,cache=none,readonly=on";
    format!("{options},file={}", disk.display())
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
