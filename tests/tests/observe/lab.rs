//! Servers for the tests, one test at a time.

use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use test_servers::{Config, Dataset, Release, Server, skipped};
use userspace::observer::{ObserveOptions, Observer};
use userspace::target::Target;

/// Prepared once a release; about 40 MiB of tables.
pub(crate) const DATA: Dataset = Dataset { tables: 4, rows: 40_000 };

/// How long anything is waited for that is known to come.
const LIMIT: Duration = Duration::from_secs(90);

/// Declares the tests of `$name`, one for each of the servers named, in a module of theirs.
macro_rules! on_servers {
    ($name:ident in $module:ident: $($test:ident $release:ident),+) => {
        mod $module {$(
            #[test]
            fn $test() {
                let name = concat!(module_path!(), "::", stringify!($test));
                crate::lab::run(name, test_servers::Release::$release, super::$name);
            }
        )+}
    };
}
pub(crate) use on_servers;

/// Declares a test of `$name` for each MySQL release.
macro_rules! on_each_mysql {
    ($($name:ident),+ $(,)?) => {$(
        crate::lab::on_servers!($name in $name: mysql56 Mysql56, mysql97 Mysql97);
    )+};
}
pub(crate) use on_each_mysql;

/// Declares a test of `$name` for MariaDB: a build whose profile is stored, a later one that is its kin, and one of another layout.
macro_rules! on_mariadb {
    ($($name:ident: $module:ident),+ $(,)?) => {$(
        crate::lab::on_servers!($name in $module:
            mariadb Mariadb, mariadb_security MariadbSecurity, mariadb_trixie MariadbTrixie);
    )+};
}
pub(crate) use on_mariadb;

/// Declares a test of `$name` for MariaDB: where what one build does does not differ from the next.
macro_rules! on_one_mariadb {
    ($($name:ident: $module:ident),+ $(,)?) => {$(
        crate::lab::on_servers!($name in $module: mariadb Mariadb);
    )+};
}
pub(crate) use on_one_mariadb;

/// Runs a test when it is its turn; says so where it cannot run.
pub(crate) fn run(test: &str, release: Release, body: impl FnOnce(Release)) {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed leaves nothing behind that the next would trip over.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if !rustix::process::geteuid().is_root() {
        return skipped(test, "probes and other processes' memory want root");
    }
    match release.installed() {
        Ok(_) => body(release),
        Err(error) => skipped(test, error),
    }
}

/// A server of `release`.
pub(crate) fn start(release: Release, config: Config) -> Server {
    Server::start(release, config).unwrap_or_else(|error| panic!("{error:#}"))
}

/// A server of a small pool that is full.
pub(crate) fn small(release: Release) -> Server {
    warm(release, Config::new().pool_mib(24))
}

/// A server whose whole data set is resident and clean.
pub(crate) fn warm(release: Release, config: Config) -> Server {
    let server = start(release, config.sysbench(DATA));
    touch_all(&server);
    settle(&server);
    server
}

/// Reads every row of the data set.
pub(crate) fn touch_all(server: &Server) {
    for table in 1..=DATA.tables {
        server.query(&format!("SELECT SUM(LENGTH(c)) FROM sbtest.sbtest{table}")).unwrap();
    }
}

/// Waits until nothing is dirty and nothing is being changed.
pub(crate) fn settle(server: &Server) {
    server.query("SET GLOBAL innodb_max_dirty_pages_pct=0").unwrap();
    let mut clean = 0;
    let clean_for_a_while = || {
        let dirty = status(server, "Innodb_buffer_pool_pages_dirty");
        clean = if dirty == 0 { clean + 1 } else { 0 };
        clean == 5
    };
    assert!(eventually(clean_for_a_while), "the pool does not become clean");
}

/// A status variable of the server that is a number.
pub(crate) fn status(server: &Server, name: &str) -> u64 {
    let rows = server.query(&format!("SHOW GLOBAL STATUS LIKE '{name}'")).unwrap();
    rows[0][1].parse().unwrap()
}

/// Asks until `condition` holds, but not for ever; says whether it does.
pub(crate) fn eventually(condition: impl FnMut() -> bool) -> bool {
    within(LIMIT, condition)
}

/// Waits until `condition` holds, for `limit` at most; whether it does.
pub(crate) fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let since = Instant::now();
    while !condition() {
        if since.elapsed() > limit {
            return false;
        }
        sleep(Duration::from_millis(50));
    }
    true
}

/// The server as the agent finds it.
pub(crate) fn target(server: &Server) -> Target {
    Target::of(server.pid()).unwrap()
}

/// Resolved, compiled and proven, without any probe.
pub(crate) fn open(server: &Server) -> userspace::server::Server {
    userspace::server::Server::open(target(server), &symbols::Options::default()).unwrap()
}

/// With all residency probes attached.
pub(crate) fn observe(server: &Server) -> Observer {
    let options = ObserveOptions::default();
    Observer::attach(target(server), &symbols::Options::default(), options).unwrap()
}
