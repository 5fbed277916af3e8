//! File systems on partitions of loop devices, mounted where only one test sees them.

#![expect(unsafe_code, reason = "a thread takes a mount namespace of its own")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Room for a server's data directory and log; XFS wants 300 MiB.
const IMAGE_BYTES: u64 = 640 << 20;

/// Runs a test in a thread whose mounts nobody else sees, and which vanish with it.
///
/// Where that cannot be, the test is skipped: not root, or a tool of `tools` is missing.
pub(crate) fn with_own_mounts(
    test: &'static str,
    tools: &[&str],
    body: impl FnOnce() + Send + 'static,
) {
    if !rustix::process::geteuid().is_root() {
        return test_servers::skipped(test, "mounting wants root");
    }
    let basic = ["mount", "losetup", "sfdisk", "partx"];
    for tool in basic.iter().chain(tools) {
        if Command::new(tool)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_err()
        {
            return test_servers::skipped(test, format_args!("`{tool}` is not installed"));
        }
    }
    let body = move || {
        // SAFETY: only this thread's view of mounts and of its current directory changes; it holds
        // no descriptor that others use by number, and nothing relies on sharing these with it.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.unwrap();
        run("mount", &["--make-rprivate".as_ref(), "/".as_ref()], "");
        body();
    };
    if let Err(panic) = thread::spawn(body).join() {
        std::panic::resume_unwind(panic);
    }
}

/// A loop device that ends with its last user.
pub(crate) struct Loop {
    pub(crate) device: PathBuf,
    /// The backing file.
    pub(crate) image: PathBuf,
    _folder: tempfile::TempDir,
}

impl Loop {
    /// A device with one partition, which starts at 1 MiB.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("disk.img");
        File::create(&image).unwrap().set_len(IMAGE_BYTES).unwrap();
        run("sfdisk", &["--quiet".as_ref(), image.as_ref()], "label: dos\n2048,,L\n");
        let options = ["--find", "--show", "--partscan"].map(Path::new);
        let device = run("losetup", &[&options[..], &[&image]].concat(), "");
        let device = PathBuf::from(device.trim());
        let this = Self { device, image, _folder: folder };
        // A kernel that reads no partition tables takes the partition from us.
        if !this.partition().exists() {
            run("partx", &["--add".as_ref(), this.device.as_ref()], "");
        }
        this
    }

    pub(crate) fn partition(&self) -> PathBuf {
        format!("{}p1", self.device.display()).into()
    }

    /// The device's name in sysfs.
    pub(crate) fn name(&self) -> &str {
        self.device.file_name().unwrap().to_str().unwrap()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}

/// A mounted file system.
pub(crate) struct Mounted {
    folder: tempfile::TempDir,
}

impl Mounted {
    /// Mounts `what` as the arguments say.
    pub(crate) fn new(arguments: &[&str], what: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let arguments: Vec<_> =
            arguments.iter().map(Path::new).chain([what, folder.path()]).collect();
        run("mount", &arguments, "");
        Self { folder }
    }

    /// Makes a file system on a device and mounts it.
    pub(crate) fn made(fstype: &str, device: &Path) -> Self {
        let force = if fstype == "ext4" { "-F" } else { "-f" };
        run(&format!("mkfs.{fstype}"), &["-q".as_ref(), force.as_ref(), device], "");
        Self::new(&["-t", fstype], device)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a server that is being killed may still be there for a moment.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

/// Runs a program to its end; gives what it printed.
pub(crate) fn run(program: &str, arguments: &[&Path], input: &str) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("`{program}`: {error}"));
    // A program that asks for no input may be gone already; how it ended is what counts.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {}: {error}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// True when the kernel has a device mapper. Running `dmsetup` to see would leave a device node
/// behind where it has none; opening the node loads the driver where it is a module.
pub(crate) fn has_device_mapper() -> bool {
    File::open("/dev/mapper/control").is_ok()
}
