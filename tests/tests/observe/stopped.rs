//! Eligible pages under a load: the server (our own) is stopped, and what the frame holds, the disk holds.
//!
//! Nothing of it moves then, so the comparison needs no second look: each page that is eligible now must be equal now.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use test_servers::{Config, Dataset, LoadSpec, PageSize, Release, Script, Server};
use userspace::memory::ServerAddr;
use userspace::observer::Observer;

use crate::lab::{eventually, observe, on_mariadb, start, touch_all};
use crate::listed::{Listed, list};

/// What `O_DIRECT` wants of addresses.
const ALIGNMENT: usize = 4096;

/// A server that stands still until this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn new(server: &Server) -> Self {
        let pid = Pid::from_raw(server.pid().cast_signed()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        let stopped = Self(pid);
        let tasks = format!("/proc/{}/task", server.pid());
        let is_stopped = |task: &Path| {
            let stat = fs::read_to_string(task.join("stat")).unwrap_or_default();
            stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
        };
        let all = || fs::read_dir(&tasks).unwrap().all(|task| is_stopped(&task.unwrap().path()));
        assert!(eventually(all), "the server does not stop");
        stopped
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// The server's files, read past the page cache.
struct Files {
    root: PathBuf,
    open: BTreeMap<String, File>,
    buffer: Vec<u8>,
}

impl Files {
    /// Whether the file of this page holds `expected`.
    fn hold(&mut self, row: &Listed, expected: &[u8]) -> bool {
        let (Some(name), Some(offset)) = (&row.file, row.file_offset) else { return false };
        let path = self.root.join(Path::new(name).strip_prefix("/").unwrap());
        let open = || File::options().read(true).custom_flags(libc::O_DIRECT).open(path).unwrap();
        let file = self.open.entry(name.clone()).or_insert_with(open);
        self.buffer.resize(expected.len() + ALIGNMENT, 0);
        let start = self.buffer.as_ptr().align_offset(ALIGNMENT);
        let found = &mut self.buffer[start..start + expected.len()];
        file.read_exact_at(found, offset).is_ok() && found == expected
    }
}

/// What one snapshot had.
#[derive(Debug, Default)]
struct Counts {
    eligible: usize,
    wrong: Vec<Listed>,
    /// Without the probes' word: what a server that can only be scanned has on its list.
    scanned: usize,
    scanned_wrong: Vec<Listed>,
    dirty: usize,
    dirty_equal: usize,
}

fn compare(server: &Server, observer: &Observer) -> Counts {
    let _stopped = Stopped::new(server);
    let observed = observer.server();
    let mut files =
        Files { root: observed.target.root(), open: BTreeMap::new(), buffer: Vec::new() };
    let mut frame = vec![0; observed.pool_map.page_size as usize];
    let mut is_on_disk = |row: &Listed| {
        observed.memory().read(ServerAddr(row.frame_va), &mut frame).unwrap();
        files.hold(row, &frame)
    };
    let mut counts = Counts::default();
    let with_probes = list(observed, Some(observer.residency()));
    let scanned = list(observed, None);
    for (row, scanned) in with_probes.into_iter().zip(scanned) {
        if row.state == "dirty" && row.reason.as_deref() == Some("dirty") {
            counts.dirty += 1;
            counts.dirty_equal += usize::from(is_on_disk(&row));
            continue;
        }
        if !row.eligible && !scanned.eligible {
            continue;
        }
        let is_on_disk = is_on_disk(&row);
        counts.eligible += usize::from(row.eligible);
        counts.scanned += usize::from(scanned.eligible);
        if !is_on_disk && scanned.eligible {
            counts.scanned_wrong.push(scanned);
        }
        if !is_on_disk && row.eligible {
            counts.wrong.push(row);
        }
    }
    counts
}

/// Pages of a server whose pool holds `rows` in each of four tables, at `snapshots` moments of a load.
fn compare_at(release: Release, config: Config, rows: u32, snapshots: u32, at_least: usize) {
    let server = start(release, config.sysbench(Dataset { tables: 4, rows }));
    touch_all(&server);
    // Else all pages are dirty after a while.
    let flush = "SET GLOBAL innodb_max_dirty_pages_pct = 10; SET GLOBAL innodb_io_capacity = 4000";
    server.query(flush).unwrap();
    let mut observer = observe(&server);
    let load = server.load(&LoadSpec::new(Script::ReadWrite, 2).uniform()).unwrap();
    sleep(Duration::from_secs(2));
    for _ in 0..snapshots {
        sleep(Duration::from_secs(1));
        let counts = compare(&server, &observer);
        let Counts { eligible, wrong, scanned, scanned_wrong, dirty, dirty_equal } = &counts;
        println!(
            "{eligible} eligible pages, {} of them not on disk; by a scan {scanned}, {}; {dirty} dirty pages, \
             {dirty_equal} of them on disk",
            wrong.len(),
            scanned_wrong.len()
        );
        assert!(wrong.is_empty(), "{:#?}", &wrong[..wrong.len().min(3)]);
        assert!(scanned_wrong.is_empty(), "{:#?}", &scanned_wrong[..scanned_wrong.len().min(3)]);
        assert!(*eligible >= at_least, "{eligible} eligible pages");
        // The comparison distinguishes pages.
        assert!(
            *dirty > 20 && dirty_equal * 2 < *dirty,
            "{dirty_equal} of {dirty} dirty pages are on disk"
        );
    }
    load.stop().unwrap();
    observer.audit().unwrap();
    let (audited, counters) = (observer.audited(), observer.probes().counters().unwrap());
    assert_eq!((audited.drift, audited.falsely_clean), (0, 0), "{audited:?}");
    assert!(counters.iter().all(|of| (of.foreign, of.faults) == (0, 0)), "{counters:?}");
}

/// Pages of 4 KiB: so many take little room.
fn eligible_pages_are_on_disk_under_a_load(release: Release) {
    let config = Config::new().pool_mib(192).page_size(PageSize::K4);
    compare_at(release, config, 120_000, 2, 20_000);
}

on_mariadb!(eligible_pages_are_on_disk_under_a_load: eligible_pages_of_mariadb_are_on_disk_under_a_load);

/// With pages of the usual size the data takes half a gigabyte.
mod eight_snapshots {
    use super::{Config, Release, compare_at};

    fn eight(release: Release) {
        let config = Config::new().pool_mib(768).filled_anew();
        compare_at(release, config, 480_000, 8, 20_000);
    }

    #[test]
    #[ignore = "a measurement of minutes"]
    fn mariadb() {
        crate::lab::run(concat!(module_path!(), "::mariadb"), Release::Mariadb, eight);
    }

    #[test]
    #[ignore = "a measurement of minutes"]
    fn mariadb_security() {
        let name = concat!(module_path!(), "::mariadb_security");
        crate::lab::run(name, Release::MariadbSecurity, eight);
    }
}
