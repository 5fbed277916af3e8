//! A user's traps for whoever reads the memory of its processes, or waits for their memory maps.
//!
//! | how it is called | what it starts as `nobody` |
//! |---|---|
//! | `mute-memory reads PROGRAM LIBRARY` | a copy of `PROGRAM` called `mysqld`, with `LIBRARY` preloaded, which maps the file `$MUTE` over its data |
//! | `mute-memory map PROGRAM` | a process that maps `PROGRAM`, and holds the lock of its memory map in another `mmap` |
//! | `mute-memory map PROGRAM headless` | the same, by a thread of a process whose first thread has ended |
//!
//! The file lies in a FUSE file system that never answers a read. The process's id is printed once it stands; at the end of
//! standard input all is over, and the kernel lets go who waits. Where this cannot be had, it says why and ends with status 77.
#![expect(clippy::unwrap_used, reason = "a test's program ends where it fails")]
#![expect(clippy::print_stdout, reason = "how it speaks to the test")]
#![expect(unsafe_code, reason = "mmap is the trap")]

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags, chmod, makedev, mknodat, open};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tests::fuse::{DIRECT_IO, Served, code, serve};
use tests::squatter::STRANGER;

/// How it reports to a test that there is nothing to test.
const CANNOT: u8 = 77;
const NAME: &str = "file";
/// More than any program has data.
const BYTES: u64 = 1 << 30;

fn main() -> ExitCode {
    let words: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if words[0] == Path::new("held") {
        held(&words[1], words.len() > 2);
    }
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err((what, error)) => {
            println!("{what}: {error}");
            ExitCode::from(CANNOT)
        }
    }
}

fn run(words: &[PathBuf]) -> Result<(), (&'static str, io::Error)> {
    let folder = tempfile::tempdir().unwrap();
    chmod(folder.path(), Mode::from_raw_mode(0o755)).unwrap();
    let file = mount_file(folder.path())?;
    let mut command = match words[0].to_str() {
        Some("reads") => {
            let program = folder.path().join("mysqld");
            fs::copy(&words[1], &program).unwrap();
            let mut command = Command::new(program);
            command.env("LD_PRELOAD", &words[2]).env("MUTE", &file).stdin(Stdio::null());
            command
        }
        _ => {
            let program = folder.path().join("held");
            fs::copy("/proc/self/exe", &program).unwrap();
            let mut command = Command::new(program);
            // It may lie where strangers cannot look, and be mapped by them all the same.
            command.arg("held").arg(&file).args(&words[2..]);
            command.stdin(File::open(&words[1]).unwrap());
            command
        }
    };
    command.uid(STRANGER).gid(STRANGER).current_dir(folder.path());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    // SAFETY: one system call between fork and exec.
    unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) };
    let mut child = command.spawn().map_err(|error| ("the program", error))?;
    // It says a word when it stands.
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).map_err(|error| ("the program", error))?;
    // The last call of one that holds its map does not come back.
    thread::sleep(Duration::from_millis(300));
    println!("{}", child.id());
    io::stdout().flush().unwrap();
    let _ = io::stdin().read_to_end(&mut Vec::new());
    // It is let go when the file system ends with this process.
    let _ = child.kill();
    Ok(())
}

/// Mounts the file system where only this process's children see it; gives its file.
fn mount_file(folder: &Path) -> Result<PathBuf, (&'static str, io::Error)> {
    set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    // SAFETY: this process has one thread, which holds no descriptor whose meaning changes.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.map_err(|error| ("unshare", error.into()))?;
    let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    mount_change("/", private).map_err(|error| ("private mounts", error.into()))?;
    let (device, at, holes) = (folder.join("fuse"), folder.join("mute"), folder.join("holes"));
    let mode = Mode::from_raw_mode(0o600);
    mknodat(CWD, &device, FileType::CharacterDevice, mode, makedev(10, 229))
        .map_err(|error| ("mknod", error.into()))?;
    let connection = open(&device, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let connection = connection.map_err(|error| ("/dev/fuse", error.into()))?;
    fs::create_dir(&at).unwrap();
    let number = connection.as_raw_fd();
    let options = format!("fd={number},rootmode=40000,user_id={STRANGER},group_id={STRANGER}");
    let options = std::ffi::CString::new(format!("{options},allow_other")).unwrap();
    mount("mute", &at, "fuse", MountFlags::empty(), Some(options.as_c_str()))
        .map_err(|error| ("FUSE", error.into()))?;
    let file = File::create_new(&holes).unwrap();
    file.set_len(BYTES).unwrap();
    thread::spawn(move || {
        // The first open of it keeps its pages in memory, further ones throw them out.
        let opens = AtomicU32::new(0);
        let open_flags = || if opens.fetch_add(1, Ordering::SeqCst) == 0 { 0 } else { DIRECT_IO };
        let served = Served { name: NAME, file, open_flags: &open_flags };
        serve(&connection, &served, |request| request == code::READ);
    });
    Ok(at.join(NAME))
}

/// Maps the program at standard input, and then a file whose pages are thrown out by that: of one that is being read, its `mmap` waits for the
/// answer (`fuse_file_mmap`: `invalidate_inode_pages2`), with the lock of the memory map.
fn held(file: &Path, is_headless: bool) -> ! {
    map(io::stdin().as_fd(), ProtFlags::READ | ProtFlags::EXEC);
    let [first, second] = [file, file].map(|path| File::open(path).unwrap());
    thread::spawn(move || (&first).read(&mut [0]).unwrap());
    thread::sleep(Duration::from_millis(300));
    let hold = move || {
        print!("x");
        io::stdout().flush().unwrap();
        map(second.as_fd(), ProtFlags::READ);
        std::process::exit(0)
    };
    if !is_headless {
        hold();
    }
    thread::spawn(hold);
    end_first_thread()
}

/// Its process goes on, and the kernel shows it as a zombie.
fn end_first_thread() -> ! {
    loop {
        // SAFETY: exit(2), which ends this thread alone. It owns nothing that another uses.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
}

fn map(file: BorrowedFd<'_>, protection: ProtFlags) {
    // All of it: the kernel asks who maps the place of a probe.
    let bytes = usize::try_from(rustix::fs::fstat(file).unwrap().st_size).unwrap();
    let (anywhere, flags) = (std::ptr::null_mut(), MapFlags::PRIVATE);
    // SAFETY: a new mapping at a place of the kernel's choice, which nobody reads.
    let mapped = unsafe { mmap(anywhere, bytes, protection, flags, file, 0) };
    mapped.unwrap();
}
