//! `poolferry doctor` on this machine: as it is, with real servers, and with less than it needs.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as their tests do")]

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use test_servers::{Config, Server, skipped};

const DOCTOR: [&str; 3] = [env!("CARGO_BIN_EXE_poolferry"), "doctor", "--no-cache"];

/// Runs the doctor through `wrapper`, a command that takes a command.
fn doctor(wrapper: &[&str], arguments: &[&str]) -> Output {
    let line: Vec<_> = wrapper.iter().chain(&DOCTOR).chain(arguments).collect();
    Command::new(line[0]).args(&line[1..]).output().unwrap()
}

/// The report, and that the exit code agrees with it.
fn report(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).expect(&errors);
    assert_eq!(output.status.code(), Some(i32::from(report["works"] != true)), "{report:#}");
    report
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let all = ["machine", "server"].map(|part| report[part].as_array().unwrap());
    all.into_iter().flatten().find(|check| check["name"] == name).expect(name)
}

#[track_caller]
fn assert_status(report: &Value, names: &[&str], status: &str) {
    for name in names {
        let check = check(report, name);
        assert_eq!(check["status"], status, "{check:#}");
        assert_eq!(
            check["remedy"].is_string(),
            status == "warning" || status == "fail",
            "{check:#}"
        );
    }
}

/// What must be fine on every machine that runs the tests.
const TRIED: [&str; 6] = [
    "kernel types (BTF)",
    "eBPF system call",
    "eBPF programs",
    "uprobes",
    "frame numbers (pagemap)",
    "page-table walk (eBPF)",
];

const SERVER: [&str; 4] = ["server", "debug information", "buffer pool", "probe sites"];

#[test]
fn a_server_with_debug_information_is_well() {
    let server = Server::mysql56(Config::new().pool_mib(32)).unwrap();
    let report = report(&doctor(&[], &["--json", "--pid", &server.pid().to_string()]));
    assert_status(&report, &TRIED, "ok");
    assert_status(&report, &SERVER, "ok");
    assert_status(&report, &["data file writes"], "ok");
    let pool = check(&report, "buffer pool")["found"].as_str().unwrap();
    assert!(pool.contains("pages of 16"), "{pool}");
}

#[test]
fn a_stripped_server_that_writes_through_the_page_cache_is_warned_of() {
    let config = Config::new().pool_mib(32).flush_method("fsync");
    let server = Server::mysql97(config).unwrap();
    let report = report(&doctor(&[], &["--json", "--pid", &server.pid().to_string()]));
    assert_status(&report, &SERVER, "ok");
    assert_status(&report, &["data file writes"], "warning");
    assert_eq!(report["works"], true, "{report:#}");
    let source = check(&report, "debug information")["found"].as_str().unwrap();
    assert!(source.contains("stored profile"), "{source}");
}

#[test]
fn a_server_that_is_not_there_fails_in_plain_text() {
    let output = doctor(&[], &["--name", "no-such-server"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains('\u{1b}'), "a pipe is no terminal");
    assert!(text.contains("FAIL") && text.contains("no-such-server"), "{text}");
    assert!(text.contains("remedy: start the server first"), "{text}");
}

/// Whether `wrapper` can be used here; a counted skip if not.
fn usable(test: &str, wrapper: &[&str]) -> bool {
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg("true").stdout(Stdio::null()).stderr(Stdio::null());
    let usable = command.status().is_ok_and(|status| status.success());
    if !usable {
        skipped(test, format!("`{}` does not work here", wrapper.join(" ")));
    }
    usable
}

#[test]
fn without_capabilities_each_is_named() {
    let wrapper = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    if !usable("without_capabilities_each_is_named", &wrapper) {
        return;
    }
    let report = report(&doctor(&wrapper, &["--json"]));
    assert_eq!(report["works"], false);
    let refused = ["capabilities", "eBPF system call", "eBPF programs", "frame numbers (pagemap)"];
    assert_status(&report, &refused, "fail");
    let found = check(&report, "capabilities")["found"].as_str().unwrap();
    for name in ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN"] {
        assert!(found.contains(name), "{found}");
    }
}

#[test]
fn root_in_a_user_namespace_is_not_enough() {
    let wrapper = ["unshare", "--user", "--map-root-user"];
    if !usable("root_in_a_user_namespace_is_not_enough", &wrapper) {
        return;
    }
    let report = report(&doctor(&wrapper, &["--json"]));
    assert_eq!(report["works"], false);
    assert_status(&report, &["user namespace", "eBPF system call"], "fail");
    assert_status(&report, &["capabilities"], "ok");
}

#[test]
fn in_a_pid_namespace_pagemap_serves_the_list() {
    let wrapper = ["unshare", "--pid", "--fork", "--mount-proc"];
    if !usable("in_a_pid_namespace_pagemap_serves_the_list", &wrapper) {
        return;
    }
    let report = report(&doctor(&wrapper, &["--json"]));
    assert_status(&report, &["pid namespace", "page-table walk (eBPF)"], "warning");
    assert_status(&report, &["uprobes", "frame numbers (pagemap)"], "ok");
    let walk = check(&report, "page-table walk (eBPF)")["found"].as_str().unwrap();
    assert!(walk.ends_with("pagemap serves the list"), "{walk}");
    let remedy = check(&report, "page-table walk (eBPF)")["remedy"].as_str().unwrap();
    assert!(remedy.contains("initial pid namespace"), "{remedy}");
    assert_eq!(report["works"], true, "{report:#}");
}
