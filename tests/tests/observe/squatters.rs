//! Strangers' processes that are called `mysqld`, beside a real server. They even stand in its data directory, so
//! that a rule which keeps other servers of this machine out lets them in.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use test_servers::{Config, Release, Server, command, skipped};
use tests::squatter::{Squat, Squatter};

use crate::agent::{Agent, complaint};
use crate::lab::{run, small, start};

const SLEEP: &str = "/bin/sleep";

fn squat(program: &Path) -> Squat {
    Squat::of(program).unwrap_or_else(|error| panic!("{error:#}"))
}

/// `count` squatters in the data directory of `server`.
fn squatters(squat: &Squat, server: &Server, count: usize) -> Vec<Squatter> {
    let one = |_| squat.start(server.datadir(), &["1000"]).unwrap_or_else(|e| panic!("{e:#}"));
    (0..count).map(one).collect()
}

/// Runs `body` with the built program and a server.
fn beside(test: &str, body: impl FnOnce(&Agent, &Server)) {
    run(test, Release::Mysql56, |release| {
        if !command::exists("setpriv") {
            return skipped(test, "`setpriv` is not installed");
        }
        let Some(agent) = Agent::find(test) else { return };
        body(&agent, &small(release));
    });
}

/// The pages that `poolferry pages` lists of the only real server.
fn pages(agent: &Agent, datadir: &str) -> usize {
    let listed = agent.run(&["pages", "--eligible", "--format", "csv", "--datadir", datadir]);
    listed.stdout.iter().filter(|byte| **byte == b'\n').count()
}

#[test]
fn a_squatter_beside_a_server_is_passed_over() {
    const TEST: &str = "a_squatter_beside_a_server_is_passed_over";
    beside(TEST, |agent, server| {
        let sleepers = squat(Path::new(SLEEP));
        let squatters = squatters(&sleepers, server, 1);
        let datadir = server.datadir().display().to_string();
        assert!(pages(agent, &datadir) > 100);
        let trace = ["trace", "--format", "jsonl", "--duration", "1s", "--datadir", &datadir];
        let shown = String::from_utf8(agent.run(&trace).stdout).unwrap();
        assert!(shown.contains(&format!("\"pid\":{}", server.pid())), "{shown}");
        let found = agent.try_run(&["doctor", "--datadir", &datadir]);
        let found = String::from_utf8(found.stdout).unwrap();
        assert!(found.contains(&format!("pid {}", server.pid())), "{found}");
        // Who asks for it gets it.
        let of_nobody = agent.try_run(&["pages", "--datadir", &datadir, "--user", "65534"]);
        let text = complaint(&of_nobody);
        assert!(text.contains("no database server") && !of_nobody.status.success(), "{text}");
        let by_pid = agent.try_run(&["pages", "--pid", &squatters[0].pid().to_string()]);
        assert!(complaint(&by_pid).contains("no database server"));
    });
}

#[test]
fn fifty_squatters_do_not_keep_anybody_waiting() {
    const TEST: &str = "fifty_squatters_do_not_keep_anybody_waiting";
    beside(TEST, |agent, server| {
        let datadir = server.datadir().display().to_string();
        let since = Instant::now();
        let listed = pages(agent, &datadir);
        let alone = since.elapsed();
        // One of a program with a lot to read, 48 with little, and a real server's that never gets anywhere.
        let (sleepers, server_like) = (squat(Path::new(SLEEP)), squat(server.program()));
        let mut all = squatters(&sleepers, server, 48);
        let large = squat(agent.path());
        let port = format!("unix:{datadir}/none");
        let waits = ["agent", "--pid", "4194304", "--port", &port];
        all.push(large.start(server.datadir(), &waits).unwrap());
        let stopped = server_like.start(server.datadir(), &["--no-defaults"]).unwrap();
        stopped.stop().unwrap();
        all.push(stopped);
        let since = Instant::now();
        assert_eq!(pages(agent, &datadir), listed);
        let beside = since.elapsed();
        println!("{alone:?} alone, {beside:?} beside {} squatters", all.len());
        assert!(beside < alone * 6 + Duration::from_secs(8), "{beside:?}");
        let by_user = Instant::now();
        let user = rustix::process::getuid().as_raw().to_string();
        agent.run(&["pages", "--summary", "--datadir", &datadir, "--user", &user]);
        println!("{:?} with --user", by_user.elapsed());
    });
}

#[test]
fn several_servers_are_named_with_what_tells_them_apart() {
    const TEST: &str = "several_servers_are_named_with_what_tells_them_apart";
    run(TEST, Release::Mysql97, |release| {
        let Some(agent) = Agent::find(TEST) else { return };
        let (one, other) = (small(Release::Mysql56), start(release, Config::new().pool_mib(24)));
        let sleepers = squat(Path::new(SLEEP));
        let _squatter = squatters(&sleepers, &one, 1);
        let datadirs = [&one, &other].map(|server| server.datadir().display().to_string());
        let text = agent.try_run(&["pages", "--datadir", &datadirs[0], "--datadir", &datadirs[1]]);
        let text = complaint(&text);
        println!("{text}");
        assert!(text.starts_with("error: 2 servers are running\n  --pid "), "{text}");
        for (server, version) in [(&one, "mysql 5.6.24"), (&other, "mysql 9.7.4")] {
            let line = text.lines().find(|line| line.contains(&format!("--pid {}", server.pid())));
            let line = line.unwrap_or_else(|| panic!("not named: {text}"));
            for part in [version, "  user root  unit ", "  datadir /"] {
                assert!(line.contains(part), "{part}: {line}");
            }
        }
        assert!(text.contains("--datadir, --user or --unit"), "{text}");
        for datadir in &datadirs {
            agent.run(&["pages", "--summary", "--datadir", datadir]);
        }
    });
}

/// A control group of its own, as systemd makes one for a unit of the system.
struct Unit(PathBuf);

impl Unit {
    /// Nothing where this machine lets nobody make one.
    fn new(name: &str) -> Option<Self> {
        let hierarchies = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        hierarchies.iter().map(Path::new).find_map(|hierarchy| {
            let unit = hierarchy.join("system.slice").join(format!("{name}.service"));
            let made =
                hierarchy.join("cgroup.procs").is_file() && fs::create_dir_all(&unit).is_ok();
            made.then_some(Self(unit))
        })
    }

    fn take(&self, pid: u32) -> bool {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).is_ok()
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_server_is_chosen_by_its_unit() {
    const TEST: &str = "a_server_is_chosen_by_its_unit";
    beside(TEST, |agent, server| {
        let name = format!("poolferry-test-{}", std::process::id());
        let Some(unit) = Unit::new(&name).filter(|unit| unit.take(server.pid())) else {
            return skipped(TEST, "no control group can be made here");
        };
        let sleepers = squat(Path::new(SLEEP));
        let _squatters = squatters(&sleepers, server, 1);
        agent.run(&["pages", "--summary", "--unit", &name]);
        let trace = ["trace", "--format", "jsonl", "--duration", "1s", "--unit", &name];
        let shown = String::from_utf8(agent.run(&trace).stdout).unwrap();
        assert!(shown.contains(&format!("\"unit\":\"{name}.service\"")), "{shown}");
        let other = complaint(&agent.try_run(&["pages", "--unit", "no-such"]));
        assert!(other.contains("in unit no-such.service"), "{other}");
        // The group is empty before it is removed.
        let root = unit.0.ancestors().nth(2).unwrap().join("cgroup.procs");
        fs::write(root, server.pid().to_string()).unwrap();
    });
}
