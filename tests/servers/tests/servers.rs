//! The fixtures themselves: real servers start, answer, carry load, and leave nothing behind.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use test_servers::{
    Config, Dataset, Isolation, LoadSpec, PageSize, Release, Script, Server, skipped,
};

/// Small enough to be prepared in seconds.
const DATA: Dataset = Dataset { tables: 2, rows: 5000 };

/// Whether `release` can run here; prints why not.
fn can_run(test: &str, release: Release) -> bool {
    match release.installed() {
        Ok(installed) if installed.root.is_some() && !rustix::process::geteuid().is_root() => {
            skipped(test, format_args!("{release} runs in a root of its own, which wants root"));
            false
        }
        Ok(_) => true,
        Err(error) => {
            skipped(test, error);
            false
        }
    }
}

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// Waits for `condition`, up to 20 s.
fn eventually(condition: impl Fn() -> bool) -> bool {
    let since = Instant::now();
    while !condition() {
        if since.elapsed() > Duration::from_secs(20) {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

/// A server of `release` carries a load, is the real program, and is gone after its end.
fn serves(release: Release) {
    let server = Server::start(release, Config::new().sysbench(DATA)).unwrap();
    // By identity: what the link reads depends on the mounts between the two roots.
    let running = fs::metadata(format!("/proc/{}/exe", server.pid())).unwrap();
    let program = fs::metadata(server.program()).unwrap();
    assert_eq!((running.dev(), running.ino()), (program.dev(), program.ino()));
    assert_eq!(server.query_one("SELECT COUNT(*) FROM sbtest.sbtest2").unwrap(), "5000");
    assert!(server.datadir().join("sbtest/sbtest2.ibd").is_file());

    let load = server.load(&LoadSpec::new(Script::ReadWrite, 2).seconds(2)).unwrap();
    let summary = load.wait().unwrap();
    assert!(summary.transactions > 0 && summary.tps > 0.0, "{summary:?}");
    assert!(!summary.seconds.is_empty() && summary.seconds[0].at == 1, "{summary:?}");

    let (pid, scratch) = (server.pid(), server.scratch().to_owned());
    server.stop().unwrap();
    assert!(is_gone(pid) && !scratch.exists());
}

#[test]
fn mysql56_serves() {
    if can_run("mysql56_serves", Release::Mysql56) {
        serves(Release::Mysql56);
    }
}

#[test]
fn mysql97_serves() {
    if can_run("mysql97_serves", Release::Mysql97) {
        serves(Release::Mysql97);
    }
}

#[test]
fn mariadb_serves() {
    if can_run("mariadb_serves", Release::Mariadb) {
        serves(Release::Mariadb);
    }
}

#[test]
fn options_reach_the_server() {
    if !can_run("options_reach_the_server", Release::Mysql56) {
        return;
    }
    for size in [PageSize::K4, PageSize::K8] {
        let config = Config::new().page_size(size).pool_mib(64).option("innodb_io_capacity=321");
        let server = Server::mysql56(config).unwrap();
        let row = server
            .query("SELECT @@innodb_page_size, @@innodb_buffer_pool_size, @@innodb_io_capacity, @@innodb_flush_method")
            .unwrap();
        assert_eq!(row[0], [&size.bytes().to_string(), "67108864", "321", "O_DIRECT"]);
        server.query("CREATE TABLE test.t (a INT PRIMARY KEY) ENGINE=InnoDB").unwrap();
        assert!(!server.log().contains("[ERROR]"), "{}", server.log());
    }
    let files =
        Config::new().at_creation("innodb_data_file_path=ibdata1:10M;ibdata2:10M:autoextend");
    let server = Server::mysql56(files).unwrap();
    assert_eq!(fs::metadata(server.datadir().join("ibdata2")).unwrap().len(), 10 << 20);
}

#[test]
fn namespaces_hide_the_server() {
    if !can_run("namespaces_hide_the_server", Release::Mysql56) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return skipped("namespaces_hide_the_server", "namespaces want root");
    }
    let server = Server::mysql56(Config::new().isolation(Isolation::Namespaces)).unwrap();
    let inside = server.query_one("SELECT @@datadir").unwrap();
    assert_ne!(Path::new(&inside), server.datadir());
    let seen = PathBuf::from(format!("/proc/{}/root{inside}", server.pid())).join("ibdata1");
    assert!(seen.is_file() && server.datadir().join("ibdata1").is_file());
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap();
    assert_eq!(pids.split_whitespace().collect::<Vec<_>>(), [&server.pid().to_string(), "1"]);
    server.stop().unwrap();
}

#[test]
fn a_server_starts_again_on_its_files() {
    if !can_run("a_server_starts_again_on_its_files", Release::Mysql56) {
        return;
    }
    let mut server = Server::mysql56(Config::new()).unwrap();
    server
        .query("CREATE TABLE test.t (a INT) ENGINE=InnoDB; INSERT INTO test.t VALUES (7)")
        .unwrap();
    let first = server.pid();
    server.kill().unwrap();
    assert!(is_gone(first));
    server.start_again().unwrap();
    assert_eq!(server.query_one("SELECT a FROM test.t").unwrap(), "7");
}

#[test]
fn a_failed_start_tells_why() {
    if !can_run("a_failed_start_tells_why", Release::Mysql56) {
        return;
    }
    let error = Server::mysql56(Config::new().option("no_such_option=1")).unwrap_err();
    assert!(format!("{error:#}").contains("no_such_option"), "{error:#}");
}

#[test]
fn an_unlimited_load_ends_when_told() {
    if !can_run("an_unlimited_load_ends_when_told", Release::Mysql56) {
        return;
    }
    let server = Server::mysql56(Config::new().sysbench(DATA)).unwrap();
    let mut load = server.load(&LoadSpec::new(Script::ReadOnly, 1).rate(20).uniform()).unwrap();
    load.wait_for_seconds(2).unwrap();
    let seconds = load.stop().unwrap();
    assert!(seconds.iter().all(|second| second.tps < 100.0), "{seconds:?}");
    drop(server);
}

#[test]
fn a_server_dies_with_its_owner() {
    if !can_run("a_server_dies_with_its_owner", Release::Mysql56) {
        return;
    }
    let mut owner = Command::new(env!("CARGO_BIN_EXE_private-server"))
        .args(["mysql56", "64"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut value = |name: &str| {
        lines.by_ref().find_map(|line| line.strip_prefix(name).map(str::to_owned)).unwrap()
    };
    let pid: u32 = value("pid ").parse().unwrap();
    let socket = PathBuf::from(value("socket "));
    assert!(!is_gone(pid) && socket.exists());
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert!(eventually(|| is_gone(pid)), "mysqld {pid} outlives its owner");
    assert!(eventually(|| !socket.parent().unwrap().exists()), "the scratch folder is left");
}
