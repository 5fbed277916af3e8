//! Readers that do not read, and how long a program takes to end before them.
#![expect(unsafe_code, reason = "pseudo-terminals have no interface in the standard library")]

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::process::{Child, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};

/// What no signal may take longer than.
pub(crate) const LIMIT: Duration = Duration::from_secs(3);

/// What the test waits for in place of it, so that a failure is reported as a time.
const PATIENCE: Duration = Duration::from_secs(8);

/// What nobody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Pipe,
    Terminal,
}

/// An output that takes no byte more: nobody reads the other end, and it is full.
pub(crate) struct Stalled {
    reader: File,
    writer: File,
}

impl Stalled {
    pub(crate) fn new(kind: Kind) -> Self {
        let (reader, writer) = match kind {
            Kind::Pipe => {
                let (reader, writer) = std::io::pipe().unwrap();
                (OwnedFd::from(reader).into(), OwnedFd::from(writer).into())
            }
            Kind::Terminal => terminal(),
        };
        let stalled = Self { reader, writer };
        without_waiting(&stalled.writer, || {
            while (&stalled.writer).write(&[b'.'; 512]).is_ok() {}
            // A pipe takes small pieces where it has no room for a large one.
            while (&stalled.writer).write(b".").is_ok() {}
        });
        stalled
    }

    /// For a child.
    pub(crate) fn output(&self) -> Stdio {
        self.writer.try_clone().unwrap().into()
    }

    /// Reads what is there now.
    pub(crate) fn read(&self) -> String {
        let (mut all, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        without_waiting(&self.reader, || {
            loop {
                match (&self.reader).read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => all.extend_from_slice(&buffer[..count]),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
        });
        String::from_utf8_lossy(&all).into_owned()
    }
}

/// Runs something while the file's reads and writes do not wait.
fn without_waiting(file: &File, run: impl FnOnce()) {
    let flags = fcntl_getfl(file).unwrap();
    fcntl_setfl(file, flags | OFlags::NONBLOCK).unwrap();
    run();
    fcntl_setfl(file, flags).unwrap();
}

/// Master and slave of a new pseudo-terminal.
fn terminal() -> (File, File) {
    // SAFETY: no argument but flags; the descriptor is new, and owned from here on.
    let master = unsafe {
        let fd = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        File::from(OwnedFd::from_raw_fd(fd))
    };
    let fd = std::os::fd::AsRawFd::as_raw_fd(&master);
    let mut name = [0; 64];
    // SAFETY: the descriptor is open, and `name` has the length that is said.
    let made = unsafe {
        libc::unlockpt(fd) == 0 && libc::ptsname_r(fd, name.as_mut_ptr().cast(), name.len()) == 0
    };
    assert!(made, "{}", std::io::Error::last_os_error());
    let name = std::ffi::CStr::from_bytes_until_nul(&name).unwrap().to_str().unwrap().to_owned();
    let mut options = File::options();
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOCTTY);
    let slave = options.read(true).write(true).open(name).unwrap();
    let size = libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open, and the kernel reads one `winsize`.
    assert_eq!(unsafe { libc::ioctl(fd, libc::TIOCSWINSZ, &raw const size) }, 0);
    (master, slave)
}

/// Whether a thread of the process waits in `write` to standard output or standard error.
pub(crate) fn is_stopped_by_its_reader(child: &Child) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", child.id())) else { return false };
    tasks.flatten().any(|task| {
        // Number of the system call, then its arguments: `1 0x2 ...` is `write(2, ...)`.
        let call = fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
        let mut words = call.split(' ');
        matches!(words.next(), Some("1" | "20")) && matches!(words.next(), Some("0x1" | "0x2"))
    })
}

/// Whether it has a handler for SIGTERM.
pub(crate) fn catches_signals(child: &Child) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    caught >> (Signal::TERM.as_raw() - 1) & 1 == 1
}

/// How a process ended after a signal, and how long that took; nothing for one that did not, which is killed.
pub(crate) fn ended(child: &mut Child, signal: Signal) -> (Option<ExitStatus>, Duration) {
    kill_process(Pid::from_child(child), signal).unwrap();
    let since = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return (Some(status), since.elapsed());
        }
        if since.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            return (None, since.elapsed());
        }
        sleep(Duration::from_millis(10));
    }
}
