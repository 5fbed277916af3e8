//! What a server's files may cost whoever looks at them: names, mounts and descriptors are foreign, and their
//! owner makes as many as it likes, as long as it likes.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, ftruncate, mkdirat, openat};
use rustix::mount::{MountFlags, mount_bind, mount_change};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::file_systems::{Observed, table};
use crate::volume::with_own_mounts;

/// What foreign files may cost the agent beside what any files do.
const MOST: u64 = 64 << 20;

/// A folder in memory, where making many files is a matter of moments.
fn folder() -> tempfile::TempDir {
    let memory = tempfile::tempdir_in("/dev/shm");
    memory.unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// What the agent says of a process, and the peak of its memory (`VmHWM`) in bytes.
fn look(pid: u32) -> (String, u64) {
    let since = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_poolferry"))
        .args(["doctor", "--pid", &pid.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0) << 10);
        assert!(since.elapsed() < Duration::from_secs(120), "it does not end");
        thread::sleep(Duration::from_millis(1));
    }
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    (printed.split_whitespace().collect::<Vec<_>>().join(" "), peak)
}

/// Looks at a process whose files are hostile: it costs no more than it may.
#[track_caller]
fn costs_little(pid: u32) -> String {
    let plain = folder();
    table(plain.path(), "t.ibd", 5);
    let (_, normal) = look(Observed::in_folder(plain.path()).pid());
    let since = Instant::now();
    let (printed, peak) = look(pid);
    println!("{} KiB, normally {}, in {:.1?}", peak >> 10, normal >> 10, since.elapsed());
    assert!(peak <= normal + MOST, "{} KiB, normally {}: {printed}", peak >> 10, normal >> 10);
    printed
}

/// A folder below `base` whose path has almost `length` bytes.
fn deep(base: &Path, length: usize) -> PathBuf {
    let mut path = base.to_owned();
    while path.as_os_str().len() + 202 < length {
        path.push("n".repeat(200));
    }
    path.push("n".repeat((length - path.as_os_str().len() - 1).clamp(1, 250)));
    fs::create_dir_all(&path).unwrap();
    path
}

/// So many descriptors, where this process may have them.
fn may_open(count: u64) -> bool {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum.map_or(Some(count), |most| Some(count.min(most)));
    setrlimit(Resource::Nofile, limit).is_ok() && limit.current == Some(count)
}

#[test]
fn sixty_thousand_long_names() {
    let folder = folder();
    tables(&folder.path().join("shop"), 60_000, |n| format!("{n:06}{}.ibd", "x".repeat(236)));
    let observed = Observed::in_folder(folder.path());
    let printed = costs_little(observed.pid());
    assert!(printed.contains("left out"), "{printed}");
}

/// So many files in a database.
fn tables(shop: &Path, count: u32, name: impl Fn(u32) -> String) {
    fs::create_dir(shop).unwrap();
    let shop = File::open(shop).unwrap();
    for number in 0..count {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(&shop, name(number), flags, Mode::RUSR | Mode::WUSR).unwrap();
        ftruncate(file, 16384).unwrap();
    }
}

/// Peak of this process's memory in bytes.
fn own_peak() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

/// The other names of the files of `names_that_all_change`, in a process of its own.
const CHANGING: &str = "POOLFERRY_TEST_CHANGING";

/// What a look knew is there until the next one is over, and nothing of it need be alike.
#[test]
fn names_that_all_change() {
    if let Some(folder) = std::env::var_os(CHANGING) {
        return look_while_names_change(Path::new(&folder));
    }
    let folder = folder();
    tables(&folder.path().join("shop0"), 60_000, |number| format!("table{number}.ibd"));
    let own = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "budget::names_that_all_change", "--nocapture"])
        .env(CHANGING, folder.path())
        .output()
        .unwrap();
    println!("{}", String::from_utf8_lossy(&own.stdout));
    assert!(own.status.success(), "{}", String::from_utf8_lossy(&own.stderr));
}

fn look_while_names_change(folder: &Path) {
    let observed = Observed::in_folder(folder);
    let normal = own_peak();
    let mut locator = observed.locator();
    for turn in 0..4 {
        let [from, to] = [turn, turn + 1].map(|turn| folder.join(format!("shop{turn}")));
        fs::rename(from, to).unwrap();
        let changes = locator.refresh().unwrap();
        let tablespaces = locator.tablespaces();
        let known = tablespaces.files().count();
        println!("{known} files, {} left out, {changes:?}", tablespaces.left_out());
        assert!(known > 10_000 && known + tablespaces.left_out() == 60_000);
        assert_eq!(changes.renamed, known);
    }
    let peak = own_peak();
    println!("{} KiB, {} before", peak >> 10, normal >> 10);
    assert!(peak <= normal + MOST, "{} KiB, {} before", peak >> 10, normal >> 10);
}

#[test]
fn fifty_thousand_folders() {
    let folder = folder();
    let base = File::open(folder.path()).unwrap();
    for number in 0..50_000 {
        mkdirat(&base, format!("{number:06}{}", "x".repeat(240)), Mode::RWXU).unwrap();
    }
    let observed = Observed::in_folder(folder.path());
    let printed = costs_little(observed.pid());
    assert!(printed.contains("left out"), "{printed}");
}

#[test]
fn thousands_of_long_mounts() {
    let ((requests, pids), (replies, answer)) = (channel(), channel());
    // Who looks does not have these mounts.
    let outside =
        thread::spawn(move || pids.iter().for_each(|pid| replies.send(costs_little(pid)).unwrap()));
    with_own_mounts("thousands_of_long_mounts", &[], move || {
        let folder = tempfile::tempdir().unwrap();
        rustix::mount::mount("none", folder.path(), "tmpfs", MountFlags::empty(), None).unwrap();
        mount_change(folder.path(), rustix::mount::MountPropagationFlags::PRIVATE).unwrap();
        let (from, onto) = (deep(&folder.path().join("from"), 4000), deep(folder.path(), 3900));
        for number in 0..6_000 {
            let onto = onto.join(number.to_string());
            mkdirat(CWD, &onto, Mode::RWXU).unwrap();
            mount_bind(&from, onto).unwrap();
        }
        table(folder.path(), "t.ibd", 5).set_len(8 * 16384).unwrap();
        let observed = Observed::in_folder(folder.path());
        requests.send(observed.pid()).unwrap();
        let printed: String = answer.recv().unwrap();
        assert!(printed.contains("1 without (unsupported-filesystem)"), "{printed}");
        assert!(printed.contains("tmpfs on none"), "{printed}");
    });
    outside.join().unwrap();
}

/// Descriptors that the process inherits.
fn with_descriptors(files: impl IntoIterator<Item = PathBuf>, copies: usize) -> Observed {
    let mut held = Vec::new();
    for path in files {
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        let flags = OFlags::CREATE | OFlags::RDWR;
        let file = openat(CWD, &path, flags, Mode::RUSR | Mode::WUSR).unwrap();
        ftruncate(&file, 16384).unwrap();
        held.extend((1..copies).map(|_| rustix::io::dup(&file).unwrap()));
        held.push(file);
    }
    println!("{} descriptors, the last is {}", held.len(), held.last().unwrap().as_raw_fd());
    Observed::in_folder(Path::new("/"))
}

#[test]
fn thousands_of_descriptors_of_one_long_path() {
    const TEST: &str = "thousands_of_descriptors_of_one_long_path";
    if !may_open(20_000) {
        return test_servers::skipped(TEST, "20,000 descriptors are not allowed");
    }
    let folder = folder();
    let long = deep(folder.path(), 4000).join("t.ibd");
    let observed = with_descriptors([long], 18_000);
    costs_little(observed.pid());
}

#[test]
fn thousands_of_open_files_with_long_paths() {
    const TEST: &str = "thousands_of_open_files_with_long_paths";
    if !may_open(20_000) {
        return test_servers::skipped(TEST, "20,000 descriptors are not allowed");
    }
    let folder = folder();
    let long = deep(folder.path(), 4000);
    let observed =
        with_descriptors((0..18_000).map(|number| long.join(format!("{number}.ibd"))), 1);
    let printed = costs_little(observed.pid());
    assert!(printed.contains("left out"), "{printed}");
}
