//! Nobody reads what the program writes: it goes on, and every signal ends it in time.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use test_servers::{Config, LoadSpec, Release, Script};

use crate::agent::Agent;
use crate::lab::{DATA, eventually, start};
use crate::stall::{
    Kind::{self, Pipe, Terminal},
    LIMIT, Stalled, catches_signals, ended, is_stopped_by_its_reader,
};

const SIGNALS: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::HUP];

/// Control sequence that leaves the alternate screen.
const LEAVE: &str = "\u{1b}[?1049l";

/// A command line and what nobody reads. `{pid}` is the server, `{port}` a free port.
type Case = (&'static str, Kind);

/// One for every subcommand, and every form of those that run on.
const CASES: [Case; 14] = [
    ("trace --pid {pid} --format text --refresh 50ms --events", Pipe),
    ("trace --pid {pid} --format jsonl --refresh 50ms --events", Pipe),
    ("trace --pid {pid} --format text --refresh 50ms", Terminal),
    ("trace --pid {pid} --format viewer --refresh 50ms", Terminal),
    ("trace --pid {pid} --format none --metrics 127.0.0.1:{port} -vv", Pipe),
    ("agent --pid {pid} --port unix:{folder}/{port} -vv", Pipe),
    ("pages --pid {pid} --format table", Pipe),
    ("pages --pid {pid} --format jsonl", Terminal),
    ("pages --pid {pid} --format csv", Pipe),
    ("pages --pid {pid} --format bin", Pipe),
    ("pages --pid {pid} --summary -vv", Pipe),
    ("symbols --pid {pid}", Pipe),
    ("doctor --pid {pid}", Pipe),
    ("doctor --pid {pid} --json", Terminal),
];

/// One program that nobody reads.
struct Program {
    child: Child,
    stalled: Stalled,
}

impl Program {
    fn start(agent: &Agent, line: &str, kind: Kind) -> Self {
        let stalled = Stalled::new(kind);
        let arguments: Vec<&str> = line.split(' ').collect();
        let mut command = agent.command(&arguments);
        command.stdout(stalled.output()).stderr(stalled.output());
        // The viewer reads its keys from there.
        command.stdin(if kind == Terminal { stalled.output() } else { Stdio::null() });
        let child = command.process_group(0).spawn().unwrap();
        Self { child, stalled }
    }

    /// Waits until it stands as it would for ever.
    fn wait(&mut self, line: &str) {
        let runs_on = line.starts_with("trace") || line.starts_with("agent");
        let stands = eventually(|| {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "`{line}` ended: {ended:?}");
            is_stopped_by_its_reader(&self.child) && (!runs_on || catches_signals(&self.child))
        });
        assert!(stands, "`{line}` does not come to where it writes");
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

#[test]
fn every_signal_ends_every_command() {
    const TEST: &str = "stalled::every_signal_ends_every_command";
    crate::lab::run(TEST, Release::Mysql56, |release| {
        let Some(agent) = Agent::find(TEST) else { return };
        let server = start(release, Config::new().pool_mib(24).sysbench(DATA));
        let load = server.load(&LoadSpec::new(Script::ReadWrite, 1).rate(20)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut late = Vec::new();
        for (line, kind) in CASES {
            // All three stand side by side: that saves a minute.
            let line = line.replace("{pid}", &server.pid().to_string());
            let line = line.replace("{folder}", &folder.path().display().to_string());
            let start = |_| {
                let line = line.replace("{port}", &free_port().to_string());
                Program::start(&agent, &line, kind)
            };
            let mut programs: Vec<Program> = SIGNALS.iter().map(start).collect();
            programs.iter_mut().for_each(|program| program.wait(&line));
            sleep(Duration::from_millis(300));
            for (program, signal) in programs.iter_mut().zip(SIGNALS) {
                let (status, took) = ended(&mut program.child, signal);
                let end = status.map_or("never ends".to_owned(), |status| status.to_string());
                println!("{line}: {signal:?} {took:.2?} {end}");
                if status.is_none() || took > LIMIT {
                    late.push(format!("{line}: {signal:?} {took:.2?} {end}"));
                }
                if line.contains("viewer") && status.is_some() {
                    let received = program.stalled.read();
                    assert!(received.contains(LEAVE), "the terminal is not given back");
                }
            }
        }
        drop(load);
        assert!(late.is_empty(), "slower than {LIMIT:?}:\n{}", late.join("\n"));
    });
}

/// Whoever is asked at the same time answers: metrics come while nobody reads the records, and lines that were
/// missed are reported once there is a reader.
#[test]
fn metrics_and_probes_go_on() {
    const TEST: &str = "stalled::metrics_and_probes_go_on";
    crate::lab::run(TEST, Release::Mysql56, |release| {
        let Some(agent) = Agent::find(TEST) else { return };
        let server = start(release, Config::new().pool_mib(24).sysbench(DATA));
        let _load = server.load(&LoadSpec::new(Script::ReadWrite, 2)).unwrap();
        let port = free_port();
        let line = format!(
            "trace --pid {} --format jsonl --events --refresh 100ms --metrics 127.0.0.1:{port}",
            server.pid()
        );
        let mut program = Program::start(&agent, &line, Pipe);
        program.wait(&line);
        let hits = || {
            let url = format!("http://127.0.0.1:{port}/metrics");
            let text = std::process::Command::new("curl").args(["-sm", "5", &url]).output();
            let text = String::from_utf8(text.unwrap().stdout).unwrap();
            let of = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
            let mut lines = text.lines();
            lines
                .find(|line| line.contains("probe_hits_total{") && line.contains("=\"dirty\""))
                .map(of)
        };
        let first = hits().expect("metrics are served");
        let begun = Instant::now();
        assert!(eventually(|| hits() > Some(first + 100.0)), "the snapshot stands still");
        println!("100 hits more after {:?}", begun.elapsed());
        let mut read = String::new();
        let is_reported = eventually(|| {
            read.push_str(&program.stalled.read());
            read.contains(r#"{"record":"gap","events":"#)
        });
        assert!(is_reported, "no word of what was missed in {} bytes", read.len());
        let (status, took) = ended(&mut program.child, Signal::TERM);
        assert!(status.is_some_and(|status| status.success()) && took < LIMIT, "{took:?}");
    });
}

/// `nohup` is heeded: a signal that was ignored when the program was started stays so.
#[test]
fn what_is_ignored_stays_ignored() {
    const TEST: &str = "stalled::what_is_ignored_stays_ignored";
    crate::lab::run(TEST, Release::Mysql56, |release| {
        let Some(agent) = Agent::find(TEST) else { return };
        let server = start(release, Config::new().pool_mib(24));
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let mut command = std::process::Command::new("nohup");
        command.arg(agent.path());
        command.args(["trace", "--format", "text", "--refresh", "100ms", "--pid"]);
        command.arg(server.pid().to_string()).stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = command.stdout(fs::File::create(&out).unwrap()).spawn().unwrap();
        let lines = || fs::read_to_string(&out).unwrap().lines().count();
        assert!(eventually(|| lines() > 2 && catches_signals(&child)));
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::HUP)
            .unwrap();
        let before = lines();
        assert!(eventually(|| lines() > before + 5), "a hangup ended it");
        let (status, took) = ended(&mut child, Signal::TERM);
        assert!(status.is_some_and(|status| status.success()) && took < LIMIT, "{took:?}");
    });
}
