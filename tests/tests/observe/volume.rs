//! A file system on a loop device, mounted where only one test sees it.
#![expect(unsafe_code, reason = "a thread takes a mount namespace of its own")]

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rustix::thread::{UnshareFlags, unshare_unsafe};
use test_servers::{command, skipped};

/// Room for a data directory of either release.
const IMAGE_BYTES: u64 = 640 << 20;

/// Runs a test in a thread whose mounts nobody else sees and which vanish with it.
pub(crate) fn with_own_mounts(test: &str, body: impl FnOnce() + Send + 'static) {
    for tool in ["mkfs.ext4", "losetup", "mount"] {
        if !command::exists(tool) {
            return skipped(test, format_args!("`{tool}` is not installed"));
        }
    }
    let thread = thread::spawn(move || {
        // SAFETY: only this thread's view of mounts and its current directory change; it shares no
        // descriptor by number, and nothing relies on sharing these with it.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.unwrap();
        run("mount", &["--make-rprivate", "/"]);
        body();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The mounted file system.
pub(crate) struct Volume {
    device: PathBuf,
    mount: PathBuf,
    // Last: the image lies in it.
    _folder: tempfile::TempDir,
}

impl Volume {
    /// An empty ext4.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (image, mount) = (folder.path().join("disk.img"), folder.path().join("mount"));
        File::create(&image).unwrap().set_len(IMAGE_BYTES).unwrap();
        fs::create_dir(&mount).unwrap();
        let device = run("losetup", &["--find", "--show", &text(&image)]);
        let volume = Self { device: device.trim().into(), mount, _folder: folder };
        run("mkfs.ext4", &["-q", "-F", &text(&volume.device)]);
        run("mount", &[&text(&volume.device), &text(&volume.mount)]);
        volume
    }

    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }

    /// Device number as the list writes it.
    pub(crate) fn device(&self) -> String {
        let number = fs::metadata(&self.device).unwrap().rdev();
        format!("{}:{}", libc::major(number), libc::minor(number))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Lazily: a server that is being killed may still be there for a moment.
        let _ = Command::new("umount").arg("--lazy").arg(&self.mount).status();
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn run(program: &str, arguments: &[&str]) -> String {
    command::output(Command::new(program).args(arguments)).unwrap()
}
