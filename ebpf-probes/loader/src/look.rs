//! Finds a process that keeps the lock of its memory map.
//!
//! To set or take out a probe, the kernel takes the lock of the memory map of every process that maps the probed file, one
//! after the other (`register_for_each_vma`, kernel/events/uprobes.c), in a wait that nothing ends, and `fork` of the whole
//! machine waits meanwhile. A process holds that lock in its own `mmap`, for as long as the file system of the mapped file
//! takes, and that may be its own FUSE. So a file of each process is read first, a read that takes the same lock and can be given up:
//! `/proc/PID/pagemap` of an address where nothing is (`pagemap_read`: `mmap_read_lock_killable`; Linux 6.17 reads `maps`
//! without).
//!
//! Its memory map shows which files a process maps, so one that does not answer counts as one that maps the program.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CapabilitySet, capabilities};

use crate::error::{LoadError, RemoteCause};
use crate::holder::Holder;

/// How long a process may take to answer. One that only gets little of a processor lets go of the lock in that time, and the
/// question, which is queued, has its turn then; a file system that does not answer never lets go.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long all of them together may take, beyond [`QUICK`] each.
const PATIENCE_FOR_ALL: Duration = Duration::from_secs(10);
/// An answer that takes no longer was not waited for.
const QUICK: Duration = Duration::from_millis(20);
/// The process that every other can see, unless others are hidden from it (`hidepid`, proc(5)).
const INIT: u32 = 1;

/// Queries every process; returns the one that does not answer, or none. Ends early where the answer is not needed any more.
///
/// # Errors
/// [`LoadError::NotQueried`].
pub(crate) fn who_holds(is_wanted: impl Fn() -> bool) -> Result<Option<Holder>, LoadError> {
    let may_query_all = may_query_all();
    let found = first_silent("/proc", "pagemap", may_query_all, is_wanted)?;
    Ok(found.map(Holder::of))
}

/// Whether a process that refuses the question does so by a rule of the system's, such as a security module's, and not because
/// of what this program lacks.
fn may_query_all() -> bool {
    capabilities(None).is_ok_and(|held| held.effective.contains(CapabilitySet::SYS_PTRACE))
}

/// The first folder below `base` whose file is not read in time.
fn first_silent(
    base: &'static str,
    name: &'static str,
    may_query_all: bool,
    is_wanted: impl Fn() -> bool,
) -> Result<Option<u32>, LoadError> {
    let current = Arc::new(AtomicU32::new(0));
    let (sender, done) = channel();
    let progress = Arc::clone(&current);
    // A caller that has its answer does not wait for this.
    let query =
        move || drop(sender.send(query_all(Path::new(base), name, may_query_all, &progress)));
    thread::Builder::new()
        .name("look".to_owned())
        .spawn(query)
        .map_err(|error| not_queried(None, &error))?;
    let (mut last, mut since, mut waited) = (0, Instant::now(), Duration::ZERO);
    loop {
        match done.recv_timeout(QUICK / 2) {
            Ok(all) => return all.map(|()| None),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(not_queried(
                    None,
                    &io::Error::other("the thread that queries has ended"),
                ));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = current.load(Ordering::Relaxed);
        let took = since.elapsed();
        if now != last {
            waited += took.saturating_sub(QUICK);
            (last, since) = (now, Instant::now());
        } else if took >= PATIENCE || waited + took >= PATIENCE_FOR_ALL {
            return Ok(Some(now));
        }
        if !is_wanted() {
            return Ok(None);
        }
    }
}

/// Queries one after the other, and stores which one.
fn query_all(
    base: &Path,
    name: &str,
    may_query_all: bool,
    progress: &AtomicU32,
) -> Result<(), LoadError> {
    let processes = fs::read_dir(base).map_err(|error| not_queried(None, &error))?;
    for entry in processes {
        let entry = entry.map_err(|error| not_queried(None, &error))?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        progress.store(pid, Ordering::Relaxed);
        match query(&entry.path(), name) {
            Ok(()) => {}
            Err(error) if may_query_all && error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(not_queried(Some(pid), &error)),
        }
    }
    // Others may be hidden, too.
    if !may_query_all && let Err(error) = fs::metadata(base.join(INIT.to_string())) {
        return Err(not_queried(Some(INIT), &error));
    }
    Ok(())
}

/// Queries a process, which may have gone, or have no memory map (a thread of the kernel's).
///
/// One whose first thread has ended has that map by its other threads only.
fn query(process: &Path, name: &str) -> io::Result<()> {
    if has_answered(&process.join(name))? {
        return Ok(());
    }
    let Ok(threads) = fs::read_dir(process.join("task")) else { return Ok(()) };
    let threads = threads.map_while(Result::ok).map(|thread| thread.path().join(name));
    for thread in threads {
        if has_answered(&thread)? {
            break;
        }
    }
    Ok(())
}

/// Whether there is a memory map behind this file. A thread without one has no file, or (before Linux 6.13) an empty one.
fn has_answered(file: &Path) -> io::Result<bool> {
    let is_gone = |error: &io::Error| {
        let gone = [rustix::io::Errno::NOENT, rustix::io::Errno::SRCH];
        gone.iter().any(|gone| error.raw_os_error() == Some(gone.raw_os_error()))
    };
    match File::open(file).and_then(|mut file| file.read(&mut [0; 8])) {
        Ok(bytes) => Ok(bytes > 0),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn not_queried(pid: Option<u32>, error: &io::Error) -> LoadError {
    LoadError::NotQueried { pid, source: RemoteCause::of(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers_holds_nothing() {
        let since = Instant::now();
        // Without the rights to query all, nothing is known.
        assert!(!may_query_all() || who_holds(|| true) == Ok(None));
        println!("all processes queried in {:?}", since.elapsed());
    }

    /// A folder of processes, some of which answer once somebody writes to their pipe.
    struct Processes(tempfile::TempDir);

    impl Processes {
        fn new(pids: &[&str]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for pid in pids {
                fs::create_dir_all(folder.path().join(pid)).unwrap();
            }
            Self(folder)
        }

        fn answers(self, process: &str) -> Self {
            fs::write(self.0.path().join(process).join("file"), "12345678").unwrap();
            self
        }

        /// Opening a pipe waits for who writes it.
        fn is_silent(&self, process: &str) -> std::path::PathBuf {
            let pipe = self.0.path().join(process).join("file");
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
            pipe
        }

        fn query(&self, is_wanted: bool) -> Option<u32> {
            let base: &'static str = self.0.path().to_str().unwrap().to_owned().leak();
            first_silent(base, "file", true, || is_wanted).unwrap()
        }
    }

    fn let_go(pipe: &Path) {
        use std::io::Write as _;
        drop(File::options().write(true).open(pipe).unwrap().write_all(b"12345678"));
    }

    #[test]
    fn who_is_silent_is_named_and_holds_nobody_up() {
        let processes = Processes::new(&["7", "8", "self"]).answers("7");
        let pipe = processes.is_silent("8");
        let since = Instant::now();
        assert_eq!(processes.query(false), None);
        assert!(since.elapsed() < PATIENCE);
        assert_eq!(processes.query(true), Some(8));
        assert!(since.elapsed() < 2 * PATIENCE, "{:?}", since.elapsed());
        let_go(&pipe);
    }

    /// A process that gets little of a processor takes its time.
    #[test]
    fn who_answers_late_holds_nothing() {
        let processes = Processes::new(&["7", "8"]);
        let pipes = ["7", "8"].map(|process| processes.is_silent(process));
        let since = Instant::now();
        thread::scope(|scope| {
            for pipe in &pipes {
                scope.spawn(|| {
                    thread::sleep(Duration::from_secs(2));
                    let_go(pipe);
                });
            }
            assert_eq!(processes.query(true), None);
        });
        assert!(since.elapsed() >= Duration::from_secs(2), "nobody was waited for");
    }

    #[test]
    fn the_other_threads_of_one_without_a_first_are_asked() {
        let processes = Processes::new(&["7/task/7", "7/task/9"]);
        let pipe = processes.is_silent("7/task/9");
        fs::write(processes.0.path().join("7/file"), "").unwrap();
        assert_eq!(processes.query(true), Some(7));
        let_go(&pipe);
    }

    #[test]
    fn nothing_is_known_of_those_who_may_not_be_asked() {
        let processes = Processes::new(&["7"]).answers("7");
        let base: &'static str = processes.0.path().to_str().unwrap().to_owned().leak();
        let query = |may_query_all| first_silent(base, "file", may_query_all, || true);
        let not_queried = |pid| matches!(query(false), Err(LoadError::NotQueried { pid: Some(of), .. }) if of == pid);
        assert!(not_queried(INIT), "others are hidden");
        fs::create_dir(processes.0.path().join("1")).unwrap();
        assert_eq!(query(false), Ok(None));
        // Root may not read this either.
        fs::create_dir_all(processes.0.path().join("8/file")).unwrap();
        assert!(not_queried(8));
    }
}
