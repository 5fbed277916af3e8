//! Who does not let go of its memory map.
//!
//! To set or take out a probe, the kernel takes the lock of the memory map of every process that maps the probed file, one
//! after the other (`register_for_each_vma`, kernel/events/uprobes.c), in a wait that nothing ends, and `fork` of the whole
//! machine waits meanwhile. A process holds that lock in its own `mmap`, for as long as the file system of the mapped file
//! takes, and that may be its own FUSE. So each process is asked first, in a way that takes the same lock and can be given up:
//! `/proc/PID/pagemap` of an address where nothing is (`pagemap_read`: `mmap_read_lock_killable`; Linux 6.17 reads `maps`
//! without).
//!
//! Which files a process maps its memory map tells, so one that does not answer counts as one that maps the program.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How long a process may take to answer, and all of them together beyond [`QUICK`] each.
const PATIENCE: Duration = Duration::from_secs(1);
/// An answer that takes no longer was not waited for.
const QUICK: Duration = Duration::from_millis(20);

/// A process that holds the lock of its memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// The account that started it, or that it changed to: its real user id.
    pub user: u32,
}

impl Holder {
    fn of(pid: u32) -> Self {
        // The kernel answers this whatever the process holds.
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let user = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        let user = user.and_then(|ids| ids.split_ascii_whitespace().next()?.parse().ok());
        Self { pid, user: user.unwrap_or(u32::MAX) }
    }
}

/// Asks every process; the one that does not answer, or none. Ends early where nobody wants to know any more.
pub(crate) fn who_holds(is_wanted: impl Fn() -> bool) -> Option<Holder> {
    first_silent("/proc", "pagemap", is_wanted).map(Holder::of)
}

/// The first folder below `base` whose file is not read in time.
fn first_silent(
    base: &'static str,
    name: &'static str,
    is_wanted: impl Fn() -> bool,
) -> Option<u32> {
    let asked = Arc::new(AtomicU32::new(0));
    let (sender, done) = channel::<()>();
    let told = Arc::clone(&asked);
    let ask = move || {
        // Closed, not sent to, at the end.
        let _open = sender;
        let Ok(processes) = fs::read_dir(base) else { return };
        let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        for pid in pids {
            told.store(pid, Ordering::Relaxed);
            // Kernel threads have no memory map, others may have gone.
            let Ok(file) = File::open([base, &pid.to_string(), name].iter().collect::<PathBuf>())
            else {
                continue;
            };
            let _ = file.read_at(&mut [0; 8], 0);
        }
    };
    // Who cannot ask has heard of nobody.
    thread::Builder::new().name("look".to_owned()).spawn(ask).ok()?;
    let (mut last, mut since, mut waited) = (0, Instant::now(), Duration::ZERO);
    loop {
        match done.recv_timeout(QUICK / 2) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = asked.load(Ordering::Relaxed);
        let took = since.elapsed();
        if now != last {
            waited += took.saturating_sub(QUICK);
            (last, since) = (now, Instant::now());
        } else if waited + took >= PATIENCE {
            return Some(now);
        }
        if !is_wanted() {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers_holds_nothing() {
        let since = Instant::now();
        assert_eq!(who_holds(|| true), None);
        println!("all processes asked in {:?}", since.elapsed());
    }

    #[test]
    fn a_holder_has_its_account() {
        let own = Holder::of(std::process::id());
        assert_eq!(own.user, rustix::process::getuid().as_raw());
        assert_eq!(Holder::of(u32::MAX).user, u32::MAX);
    }

    #[test]
    fn who_is_silent_is_named_and_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        for pid in ["7", "8", "self"] {
            fs::create_dir(folder.path().join(pid)).unwrap();
        }
        fs::write(folder.path().join("7/file"), "").unwrap();
        // Opening a pipe waits for who writes it.
        let pipe = folder.path().join("8/file");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let base: &'static str = folder.path().to_str().unwrap().to_owned().leak();
        let since = Instant::now();
        assert_eq!(first_silent(base, "file", || false), None);
        assert!(since.elapsed() < PATIENCE);
        assert_eq!(first_silent(base, "file", || true), Some(8));
        assert!(since.elapsed() < 3 * PATIENCE, "{:?}", since.elapsed());
        drop(File::options().write(true).open(&pipe));
    }
}
