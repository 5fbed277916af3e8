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

use crate::lab::{DATA, on_each_mysql, settle, start, status, target, touch_all};

/// Both sides are not read at the same moment, and the server works in the background.
const SLACK: f64 = 25.0;

/// Sums since their start, from either side.
#[derive(Clone, Copy, Debug)]
struct Counts {
    reads: f64,
    writes: f64,
    evictions: f64,
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
            evictions: read + now("Innodb_pages_created") - now("Innodb_buffer_pool_pages_data"),
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
            evictions: hits(Probe::Evicted),
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
            evictions: self.evictions - before.evictions,
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
        Self { server, observer, wrong: Vec::new() }
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
            ("reads", server.reads, probes.reads, snapshot.rates.reads),
            ("writes", server.writes, probes.writes, snapshot.rates.writes),
            ("evictions", server.evictions, probes.evictions, snapshot.rates.evictions),
            ("dirtied", server.dirtied, probes.dirtied, snapshot.rates.dirtied),
            ("queries", server.queries, probes.queries, rate(&snapshot.queries)),
            ("commits", server.commits, probes.commits, rate(&snapshot.commits)),
        ];
        for (name, says, counted, rate) in pairs {
            // DROP takes dirty pages off the flush list without a write, and nobody counts them.
            let at_least = what.contains("DDL") && name == "dirtied";
            self.compare(what, name, says, counted, at_least);
            self.compare(what, &format!("{name} a second"), counted, rate * seconds, false);
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
            let told: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert!((told - rate).abs() < 1e-6, "{line} against {rate}");
        }
        probes
    }

    fn compare(&mut self, what: &str, name: &str, says: f64, counted: f64, at_least: bool) {
        let off = counted - says;
        let counts = off < 0.0 || !at_least;
        if counts && off.abs() > 0.02 * says + SLACK {
            self.wrong.push(format!("{what}: {name}: {counted:.0} against {says:.0}"));
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

on_each_mysql!(a_pool_that_thrashes, a_pool_that_holds_all);
