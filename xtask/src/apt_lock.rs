//! The locks of apt and dpkg, which `unattended-upgrades` holds for minutes after a machine's first boot.
//!
//! apt waits for dpkg's locks by itself when it is configured to (`DPkg::Lock::Timeout`), but never for that of its
//! package lists (apt 2.6, `apt-pkg/acquire.cc`, `pkgAcquire::GetLock`).

use std::fs::{self, File};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Flock, FlockType, Pid, fcntl_getlk};

/// How long the locks of others are waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
/// How often they are looked at.
const PAUSE: Duration = Duration::from_millis(500);

/// What `apt-get update` and `apt-get install` lock.
const LOCKS: [&str; 4] = [
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/apt/lists/lock",
    "/var/cache/apt/archives/lock",
];

/// Options with which apt waits for dpkg's locks.
pub(crate) fn options() -> [String; 2] {
    ["-o".to_owned(), format!("DPkg::Lock::Timeout={}", PATIENCE.as_secs())]
}

/// Waits until nobody holds a lock, or [`PATIENCE`] is over: apt then says itself what is wrong. Without
/// root the locks cannot be looked at, and nothing is waited for.
pub(crate) fn wait() {
    wait_for(&LOCKS.map(Path::new), PATIENCE);
}

/// Whether anybody holds one of the locks now.
pub(crate) fn is_held() -> bool {
    LOCKS.iter().any(|lock| holder(Path::new(lock)).is_some())
}

fn wait_for(locks: &[&Path], patience: Duration) {
    let start = Instant::now();
    let mut named = None;
    while let Some((lock, pid)) = locks.iter().find_map(|lock| Some((lock, holder(lock)?))) {
        if start.elapsed() > patience {
            return;
        }
        if named != Some(pid) {
            println!(
                "waiting up to {} minutes for {}, which holds `{}`",
                patience.as_secs() / 60,
                name(pid),
                lock.display()
            );
            named = Some(pid);
        }
        sleep(PAUSE);
    }
}

/// The process that holds this lock; none when it is free or cannot be looked at.
fn holder(lock: &Path) -> Option<Pid> {
    let file = File::open(lock).ok()?;
    fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)).ok()??.pid
}

/// A process for people.
fn name(pid: Pid) -> String {
    let pid = pid.as_raw_nonzero();
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("process {pid} ({})", name.trim().escape_debug()),
        Err(_) => format!("process {pid}"),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Another process that holds the locks as dpkg does (fcntl), for so many seconds, once it is ready.
    fn held(locks: &[&Path], seconds: u32) -> Child {
        let program = "import fcntl,sys,time\n\
                       files=[open(p,'r+') for p in sys.argv[2:]]\n\
                       [fcntl.lockf(f,fcntl.LOCK_EX) for f in files]\n\
                       print('held',flush=True)\n\
                       time.sleep(float(sys.argv[1]))";
        let mut child = Command::new("python3")
            .args(["-c", program, &seconds.to_string()])
            .args(locks)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 4];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        child
    }

    #[test]
    fn a_held_lock_is_waited_for_and_no_longer_than_one_is_patient() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("lock");
        fs::write(&lock, "").unwrap();
        assert_eq!(holder(&lock), None);
        let mut child = held(&[&lock], 60);
        assert_eq!(
            holder(&lock).map(|pid| pid.as_raw_nonzero().get().unsigned_abs()),
            Some(child.id())
        );
        let start = Instant::now();
        wait_for(&[&lock], Duration::from_secs(1));
        assert!(start.elapsed() >= Duration::from_secs(1));
        child.kill().unwrap();
        child.wait().unwrap();
        wait_for(&[&lock], Duration::from_secs(3600));
        wait_for(&[Path::new("/no/such/lock")], Duration::from_secs(3600));
    }

    /// The real apt, beside a process that holds all of its locks as a first boot does.
    #[test]
    fn packages_are_installed_once_the_locks_are_free() {
        let locks = LOCKS.map(Path::new);
        let root = rustix::process::geteuid().is_root();
        if !root || !locks.iter().all(|lock| lock.exists()) {
            return test_servers::skipped(
                "packages_are_installed_once_the_locks_are_free",
                "no root, or no apt",
            );
        }
        wait();
        let mut child = held(&locks, 3);
        let start = Instant::now();
        // Installed on every Debian, so nothing but the locks is needed.
        crate::packages::install_here(&["dpkg"]).unwrap();
        assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
        child.wait().unwrap();
    }
}
