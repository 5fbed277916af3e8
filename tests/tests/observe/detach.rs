//! Agents that end, by Ctrl-C or by force, leave nothing.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use test_servers::{Config, LoadSpec, Release, Script};

use crate::agent::Agent;
use crate::lab::{eventually, on_each_mysql, open, warm};
use crate::text::{Text, assert_unharmed};

/// Processes of the group that `leader` leads.
fn group_of(leader: u32) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap();
    let pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let in_group = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        fields.split_whitespace().nth(2) == Some(leader.to_string().as_str())
    };
    pids.filter(in_group).collect()
}

/// Perf-event probes by name, which outlive their maker, in contrast to those by descriptor.
fn named_probes() -> String {
    fs::read_to_string("/sys/kernel/tracing/uprobe_events").unwrap_or_default()
}

/// Traces a server under load until the first record, then lets `end` end the agent.
fn trace_and_end(
    agent: &Agent,
    release: Release,
    end: impl Fn(&mut Child) -> ExitStatus,
) -> ExitStatus {
    let server = warm(release, Config::new().pool_mib(32));
    let text = Text::of(&open(&server));
    let pid = server.pid();
    assert_eq!(text.left_by(std::process::id()), 0);
    let _load = server.load(&LoadSpec::new(Script::ReadWrite, 2)).unwrap();
    let named = named_probes();
    let folder = tempfile::tempdir().unwrap();
    let mut command =
        agent.command(&["trace", "--format", "jsonl", "--events", "--queries", "--walk"]);
    command.args(["--pid", &pid.to_string()]).args(["--refresh", "200ms"]);
    let mut child = command
        .current_dir(folder.path())
        .env("TMPDIR", folder.path())
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let leader = child.id();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // An event proves that probes, walk and ring work.
    let event = lines.by_ref().map_while(Result::ok).find(|line| line.contains("\"event\""));
    assert!(event.is_some(), "the agent ended before its first event");
    assert!(text.changed() >= 3, "{} probes are set", text.changed());
    // The pipe stays open, and is read, until the end: a reader that goes away ends the agent too.
    let reading = std::thread::spawn(move || lines.map_while(Result::ok).count());
    let status = end(&mut child);
    reading.join().unwrap();
    assert_unharmed(&server, pid, &text);
    assert!(eventually(|| group_of(leader).is_empty()), "left: {:?}", group_of(leader));
    assert_eq!(named_probes(), named);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!Path::new("/sys/fs/bpf/poolferry").exists());
    status
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn ctrl_c_leaves_nothing(release: Release) {
    let Some(agent) = Agent::find("ctrl_c_leaves_nothing") else { return };
    let status = trace_and_end(&agent, release, |child| {
        signal(child, Signal::INT);
        child.wait().unwrap()
    });
    assert!(status.success(), "{status}");
}

fn a_killed_agent_leaves_nothing(release: Release) {
    let Some(agent) = Agent::find("a_killed_agent_leaves_nothing") else { return };
    let status = trace_and_end(&agent, release, |child| {
        child.kill().unwrap();
        child.wait().unwrap()
    });
    assert!(!status.success(), "{status}");
}

on_each_mysql!(ctrl_c_leaves_nothing, a_killed_agent_leaves_nothing);
