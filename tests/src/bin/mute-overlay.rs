//! A user's trap for whoever looks at its processes: a program called `mysqld` on an overlay, over a FUSE file
//! system that stops answering.
//!
//! `mute-overlay PROGRAM` becomes the stranger, makes namespaces of its own, mounts both there and starts the program
//! (which is run as `mysqld 1000`) from the overlay, in the overlay's folder. It prints the process's id. At the
//! first byte on its standard input it answers no request any more, but still takes each, so that not even SIGKILL
//! ends who waits; at its end the kernel lets them all go. Where this cannot be had it says why and ends with
//! status 77.
#![expect(clippy::unwrap_used, reason = "a test's program ends where it fails")]
#![expect(clippy::print_stdout, reason = "how it speaks to the test")]

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::{CWD, FileType, Mode, OFlags, chmod, makedev, mknodat, open};
use rustix::mount::{MountFlags, mount};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{UnshareFlags, set_thread_res_gid, set_thread_res_uid, unshare_unsafe};
use tests::fuse::{Served, serve};
use tests::squatter::STRANGER;

/// How it reports to a test that there is nothing to test.
const CANNOT: u8 = 77;

static IS_MUTE: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err((what, error)) => {
            println!("{what}: {error}");
            ExitCode::from(CANNOT)
        }
    }
}

fn run() -> Result<(), (&'static str, io::Error)> {
    let program = File::open(std::env::args_os().nth(1).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    chmod(folder.path(), Mode::from_raw_mode(0o777)).unwrap();
    // Its own device file: /dev/fuse is for root only on some machines.
    let device = folder.path().join("fuse");
    let mode = Mode::from_raw_mode(0o666);
    mknodat(CWD, &device, FileType::CharacterDevice, mode, makedev(10, 229))
        .map_err(|error| ("mknod", error.into()))?;
    chmod(&device, mode).unwrap();
    become_stranger().map_err(|error| ("user namespaces", error))?;
    let connection = open(&device, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let connection = connection.map_err(|error| ("/dev/fuse", error.into()))?;
    let merged = mount_both(folder.path(), &connection, program)?;
    let mut child = Command::new(merged.join("mysqld"));
    child.arg("1000").current_dir(&merged).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = child.spawn().map_err(|error| ("the program", error))?;
    println!("{}", child.id());
    io::stdout().flush().unwrap();
    let mut order = [0];
    if io::stdin().read(&mut order).is_ok_and(|read| read > 0) {
        IS_MUTE.store(true, Ordering::SeqCst);
        println!("mute");
        io::stdout().flush().unwrap();
        let _ = io::stdin().read_to_end(&mut Vec::new());
    }
    // It may stand in the file system itself: that ends with this process.
    let _ = child.kill();
    Ok(())
}

/// Another user, and root of namespaces of its own.
#[expect(unsafe_code, reason = "unshare(2) changes what descriptors and names mean")]
fn become_stranger() -> io::Result<()> {
    let (user, group) =
        (rustix::process::Uid::from_raw(STRANGER), rustix::process::Gid::from_raw(STRANGER));
    rustix::thread::set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // SAFETY: this process has one thread, which holds no descriptor whose meaning changes.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {STRANGER} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {STRANGER} 1"))
}

/// Mounts FUSE, which serves `program`, and the overlay; gives the overlay's folder.
fn mount_both(
    folder: &Path,
    connection: &OwnedFd,
    program: File,
) -> Result<std::path::PathBuf, (&'static str, io::Error)> {
    let [tmpfs, fuse, merged] = ["tmpfs", "fuse-files", "merged"].map(|name| folder.join(name));
    for folder in [&tmpfs, &fuse, &merged] {
        fs::create_dir(folder).unwrap();
    }
    let none = MountFlags::empty();
    let mounted = |what, source: &str, at: &Path, kind: &str, options: String| {
        let options = std::ffi::CString::new(options).unwrap();
        mount(source, at, kind, none, Some(options.as_c_str())).map_err(|e| (what, e.into()))
    };
    mounted("tmpfs", "tmpfs", &tmpfs, "tmpfs", String::new())?;
    let number = connection.as_raw_fd();
    let options = format!("fd={number},rootmode=40000,user_id=0,group_id=0");
    mounted("FUSE", "mute", &fuse, "fuse", options)?;
    let served = connection.try_clone().unwrap();
    let file = Served { name: "mysqld", file: program, open_flags: &|| 0 };
    thread::spawn(move || serve(&served, &file, |_| IS_MUTE.load(Ordering::SeqCst)));
    let options = format!("lowerdir={}:{}", fuse.display(), tmpfs.display());
    mounted("overlay", "overlay", &merged, "overlay", options)?;
    Ok(merged)
}
