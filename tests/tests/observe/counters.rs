//! What the probes count against what the server says of itself (`SHOW GLOBAL STATUS`).
//!
//! The server has no count of evictions and none of pages made dirty. Both follow from what it has, as pages are
//! neither made nor lost: what was read or created and is not there any more was evicted; what was written or is
//! dirty now was made dirty.

use std::thread::sleep;
use std::time::Duration;

use probe_abi::Probe;
use test_servers::{Config, LoadSpec, Release, Script, Server};
use userspace::observer::{ObserveOptions, Observer};
use userspace::openmetrics;
use userspace::probes::ProbeOptions;

use crate::lab::{DATA, on_each_mysql, on_one_mariadb, settle, start, status, target, touch_all};

/// Both sides are not read at the same moment, and the server works in the background.
const SLACK: f64 = 25.0;

/// Sums since their start, from either side.
#[derive(Clone, Copy, Debug)]
struct Counts {
    reads: f64,
    writes: f64,
    /// Reads that ended badly. The server counts them as reads, and their pages are not there.
    failed: f64,
    evictions: f64,
    created: f64,
    dirtied: f64,
    freed: f64,
    queries: f64,
    commits: f64,
}

impl Counts {
    #[expect(clippy::cast_precision_loss, reason = "counts of a test")]
    fn of_server(server: &Server) -> Self {
        let now = |name: &str| status(server, name) as f64;
        let (read, written) = (now("Innodb_pages_read"), now("Innodb_pages_written"));
        let commits = "SELECT SUM(COUNT) FROM information_schema.INNODB_METRICS \
                       WHERE NAME IN ('trx_rw_commits', 'trx_ro_commits', 'trx_nl_ro_commits')";
        Self {
            reads: read,
            writes: written,
            failed: 0.0,
            evictions: read + now("Innodb_pages_created") - now("Innodb_buffer_pool_pages_data"),
            created: now("Innodb_pages_created"),
            dirtied: written + now("Innodb_buffer_pool_pages_dirty"),
            freed: 0.0,
            queries: now("Queries"),
            commits: server.query(commits).unwrap()[0][0].parse().unwrap(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a test")]
    fn of_probes(observer: &Observer) -> Self {
        let counters = observer.probes().counters().unwrap();
        let hits = |probe: Probe| counters[probe as usize].hits as f64;
        let timed = |probe| observer.probes().latency(probe).unwrap().count as f64;
        Self {
            reads: hits(Probe::Read),
            writes: hits(Probe::Written),
            failed: hits(Probe::ReadFailed),
            evictions: hits(Probe::Evicted),
            created: 0.0,
            dirtied: hits(Probe::Dirty),
            freed: hits(Probe::Freed),
            queries: timed(Probe::Query),
            commits: timed(Probe::Commit),
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            reads: self.reads - before.reads,
            writes: self.writes - before.writes,
            failed: self.failed - before.failed,
            evictions: self.evictions - before.evictions,
            created: self.created - before.created,
            dirtied: self.dirtied - before.dirtied,
            freed: self.freed - before.freed,
            queries: self.queries - before.queries,
            commits: self.commits - before.commits,
        }
    }
}

/// An observed server, and what is wrong so far.
struct Scales {
    server: Server,
    observer: Observer,
    is_mariadb: bool,
    wrong: Vec<String>,
}

impl Scales {
    fn new(release: Release, pool_mib: u64) -> Self {
        let server = start(release, Config::new().pool_mib(pool_mib).sysbench(DATA));
        for counter in ["trx_rw_commits", "trx_ro_commits", "trx_nl_ro_commits"] {
            server.query(&format!("SET GLOBAL innodb_monitor_enable='{counter}'")).unwrap();
        }
        // There must be pages whose first event since the probes were set is that they leave.
        touch_all(&server);
        settle(&server);
        let options = ObserveOptions {
            probes: ProbeOptions { queries: true, ..ProbeOptions::default() },
            ..ObserveOptions::default()
        };
        let observer =
            Observer::attach(target(&server), &symbols::Options::default(), options).unwrap();
        let is_mariadb = observer.server().profile().server.family == "mariadb";
        Self { server, observer, is_mariadb, wrong: Vec::new() }
    }

    /// Lets something happen and weighs what both sides say of it.
    fn weigh(&mut self, what: &str, happens: impl FnOnce(&Server)) -> Counts {
        settle(&self.server);
        sleep(Duration::from_millis(500));
        let before = (Counts::of_server(&self.server), Counts::of_probes(&self.observer));
        self.observer.snapshot().unwrap();
        let begun = std::time::Instant::now();
        happens(&self.server);
        settle(&self.server);
        sleep(Duration::from_millis(500));
        let snapshot = self.observer.snapshot().unwrap();
        let seconds = begun.elapsed().as_secs_f64();
        let after = (Counts::of_server(&self.server), Counts::of_probes(&self.observer));
        let (server, probes) = (after.0.since(before.0), after.1.since(before.1));
        println!("{what}\n  server {server:?}\n  probes {probes:?}");
        let pairs = [
            (
                "reads",
                server.reads - probes.failed,
                probes.reads - probes.failed,
                snapshot.rates.reads,
            ),
            ("writes", server.writes, probes.writes, snapshot.rates.writes),
            (
                "evictions",
                server.evictions - probes.failed,
                probes.evictions,
                snapshot.rates.evictions,
            ),
            ("dirtied", server.dirtied, probes.dirtied, snapshot.rates.dirtied),
            ("queries", server.queries, probes.queries, rate(&snapshot.queries)),
            ("commits", server.commits, probes.commits, rate(&snapshot.commits)),
        ];
        for (name, own, counted, rate) in pairs {
            // DROP takes dirty pages off the flush list without a write, and nobody counts them. So does MariaDB with pages that
            // have become free, above all of undo logs.
            let (own, more) = match name == "dirtied" {
                true if self.is_mariadb && what.contains("thrashing") => (own, server.created),
                // There is room for all pages: what is evicted is a page that is gone for good, and was not written.
                true if self.is_mariadb => (own + server.evictions, 0.0),
                true if what.contains("DDL") => (own, f64::INFINITY),
                _ => (own, 0.0),
            };
            self.compare(what, name, own, counted, more);
            self.compare(what, &format!("{name} a second"), counted, rate * seconds, 0.0);
        }
        let text = openmetrics::encode(vec![snapshot.clone()]).unwrap();
        let rates = snapshot.rates;
        for (family, operation, rate) in [
            ("poolferry_blocks_freed_per_second", "", rates.freed),
            ("poolferry_pages_per_second", "evict", rates.evictions),
            ("poolferry_pages_per_second", "read", rates.reads),
            ("poolferry_pages_per_second", "write", rates.writes),
            ("poolferry_pages_per_second", "dirty", rates.dirtied),
        ] {
            let mut lines = text.lines().filter(|line| line.starts_with(family));
            let line = lines.find(|line| line.contains(operation)).unwrap();
            let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert!((value - rate).abs() < 1e-6, "{line} against {rate}");
        }
        probes
    }

    /// Holds what was counted against what the server says, to which `more` may be added.
    fn compare(&mut self, what: &str, name: &str, own: f64, counted: f64, more: f64) {
        let slack = 0.02 * own + SLACK;
        if counted < own - slack || counted > own + more + slack {
            let wrong = format!("{what}: {name}: {counted:.0} against {own:.0} (and {more:.0})");
            self.wrong.push(wrong);
        }
    }

    fn end(mut self) {
        let drift = self.observer.audit().unwrap();
        assert!(self.wrong.is_empty() && drift == 0, "drift {drift}\n{}", self.wrong.join("\n"));
    }
}

fn rate(latency: &Option<userspace::model::Latency>) -> f64 {
    latency.as_ref().unwrap().rate
}

fn load(server: &Server, workload: Script) {
    let spec = LoadSpec::new(workload, 4).seconds(3).uniform();
    server.load(&spec).unwrap().wait().unwrap();
}

/// Copies, indexes and drops a table: memory blocks come and go by the thousand.
fn ddl(server: &Server) {
    for _ in 0..3 {
        server.query("CREATE TABLE sbtest.copy AS SELECT * FROM sbtest.sbtest1").unwrap();
        server.query("ALTER TABLE sbtest.copy ADD INDEX (c), ADD INDEX (k)").unwrap();
        server.query("DROP TABLE sbtest.copy").unwrap();
    }
}

/// The data is larger than the pool.
fn a_pool_that_thrashes(release: Release) {
    let mut scales = Scales::new(release, 24);
    scales.weigh("read-only, thrashing", |server| load(server, Script::ReadOnly));
    let probes = scales.weigh("read-write, thrashing", |server| load(server, Script::ReadWrite));
    assert!(probes.evictions > 500.0, "{probes:?}");
    scales.end();
}

/// All data is in the pool: whatever goes back to the free list is no page, but for dropped ones.
fn a_pool_that_holds_all(release: Release) {
    let mut scales = Scales::new(release, 160);
    scales.weigh("read-write, warm", |server| load(server, Script::ReadWrite));
    let probes = scales.weigh("DDL", ddl);
    assert!(probes.freed > 0.0, "{probes:?}");
    scales.end();
}

/// MariaDB reads ahead where a table has room that was never written: what it reads there is no page.
fn reads_that_end_badly_are_neither_reads_nor_evictions(release: Release) {
    let config = Config::new().pool_mib(128).option("innodb_random_read_ahead=1");
    let mut server = start(release, config);
    // Each has a second extent that is used in part.
    let double = "INSERT INTO shop.t1 (b) SELECT b FROM shop.t1;".repeat(12);
    let copies = (2..=12).map(|table| {
        format!("CREATE TABLE shop.t{table} LIKE shop.t1; INSERT INTO shop.t{table} SELECT * FROM shop.t1;")
    });
    let sql = format!(
        "CREATE DATABASE shop; CREATE TABLE shop.t1 (a INT PRIMARY KEY AUTO_INCREMENT, b VARCHAR(250));
         INSERT INTO shop.t1 (b) VALUES (REPEAT('poolferry ', 25)); {double} {}",
        copies.collect::<String>()
    );
    server.query(&sql).unwrap();
    server.shut_down().unwrap();
    server.start_again().unwrap();
    settle(&server);
    let options = ObserveOptions::default();
    let mut observer =
        Observer::attach(target(&server), &symbols::Options::default(), options).unwrap();
    observer.set_trace(true).unwrap();
    let hits = |observer: &Observer, probe: Probe| {
        observer.probes().counters().unwrap()[probe as usize].hits
    };
    let before = status(&server, "Innodb_pages_read");
    let counted = hits(&observer, Probe::Read);
    observer.snapshot().unwrap();
    let begun = std::time::Instant::now();
    for table in 1..=12 {
        server.query(&format!("SELECT SUM(LENGTH(b)) FROM shop.t{table}")).unwrap();
    }
    sleep(Duration::from_millis(500));
    observer.drain_trace();
    let snapshot = observer.snapshot().unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    let read = status(&server, "Innodb_pages_read") - before;
    let [ended, failed, evicted] =
        [Probe::Read, Probe::ReadFailed, Probe::Evicted].map(|probe| hits(&observer, probe));
    let ended = ended - counted;
    let of_page = |event: &&userspace::model::TraceEvent| event.page.is_some();
    let value = snapshot.events.iter().filter(|event| event.probe == "read_failed");
    let value = value.filter(of_page).count() as u64;
    println!(
        "{read} read, {ended} ended, {failed} of them badly ({value} in the trace), {evicted} evicted"
    );
    assert!(failed > 20, "{failed} reads ended badly");
    assert_eq!((ended, evicted, value), (read, 0, failed));
    #[expect(clippy::cast_precision_loss, reason = "counts of a test")]
    let good = (ended - failed) as f64;
    let shown = snapshot.rates.reads * seconds;
    assert!((shown - good).abs() < 0.05 * good + SLACK, "{shown} reads shown, {good} were good");
    assert_eq!(observer.audit().unwrap(), 0);
}

on_each_mysql!(a_pool_that_thrashes, a_pool_that_holds_all);
on_one_mariadb!(
    a_pool_that_thrashes: a_pool_of_mariadb_that_thrashes,
    a_pool_that_holds_all: a_pool_of_mariadb_that_holds_all,
    reads_that_end_badly_are_neither_reads_nor_evictions: reads_that_end_badly,
);
