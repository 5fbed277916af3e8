//! The program without the rights that it needs.

use std::process::{Command, Output};

use test_servers::{Config, Release, command, skipped};

use crate::agent::{Agent, complaint};
use crate::lab::{open, run, start};
use crate::text::{Text, assert_unharmed};

/// Runs the program as root without `capabilities` (a list such as `-bpf,-sys_admin`).
fn without(agent: &Agent, capabilities: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", capabilities]).arg(agent.path()).args(arguments);
    command.output().unwrap()
}

fn assert_clear(output: &Output, what: &str, remedy: &str) {
    let message = complaint(output);
    println!("{message}");
    assert!(!output.status.success() && output.stdout.is_empty(), "{message}");
    assert!(message.starts_with("error: ") && message.contains(what), "{message}");
    assert!(message.contains("\nhint: ") && message.contains(remedy), "{message}");
    assert!(!message.contains("panicked"), "{message}");
}

#[test]
fn without_capabilities_the_program_says_what_is_missing() {
    const TEST: &str = "without_capabilities_the_program_says_what_is_missing";
    run(TEST, Release::Mysql56, |release| {
        if !command::exists("setpriv") {
            return skipped(TEST, "`setpriv` is not installed");
        }
        let Some(agent) = Agent::find(TEST) else { return };
        let server = start(release, Config::new().pool_mib(32));
        let pid = server.pid().to_string();
        let text = Text::of(&open(&server));
        let trace = ["trace", "--format", "text", "--duration", "1s", "--pid", &pid];
        let pages = ["pages", "--format", "bin", "--pid", &pid];
        assert_clear(&without(&agent, "-bpf,-sys_admin", &trace), "eBPF", "poolferry doctor");
        assert_clear(&without(&agent, "-perfmon,-sys_admin", &trace), "eBPF", "poolferry doctor");
        assert_clear(&without(&agent, "-bpf,-sys_admin", &pages), "frame", "CAP_SYS_ADMIN");
        assert_clear(&without(&agent, "-sys_ptrace", &trace), "/exe", "CAP_SYS_PTRACE");
        // No process is named: the server is there, and that it may not be seen is said.
        let any = ["trace", "--format", "text", "--duration", "1s"];
        assert_clear(&without(&agent, "-sys_ptrace", &any), &pid, "CAP_SYS_PTRACE");
        let doctor = without(&agent, "-sys_ptrace", &["doctor"]);
        let message = String::from_utf8_lossy(&doctor.stdout).into_owned();
        let line = message.lines().find(|line| line.contains(&pid)).expect(&message);
        assert!(line.contains("FAIL") && !doctor.status.success(), "{message}");
        let viewer = ["trace", "--format", "viewer", "--pid", &pid];
        assert_clear(&without(&agent, "-net_raw", &viewer), "no terminal", "--format text");
        let none = without(&agent, "-net_raw", &["pages", "--space", "4711", "--pid", &pid]);
        assert!(none.status.success() && complaint(&none).contains("no page of space 4711"));
        assert_unharmed(&server, server.pid(), &text);
        assert!(without(&agent, "-net_raw", &trace).status.success(), "with all that it needs");
    });
}
