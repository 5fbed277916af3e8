//! Servers that exit, start again or become another program while they are observed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use test_servers::{Config, Release, Server, command, skipped};
use userspace::observer::{ObserveError, Observer};

use crate::agent::{Agent, complaint};
use crate::lab::{eventually, observe, on_each_mysql, start};

/// All requests to an observer have the same result.
fn assert_exited(observer: &mut Observer, pid: u32) {
    let is_exit = |error: Option<ObserveError>| {
        let error = error.expect("the server is gone");
        assert!(matches!(error, ObserveError::Exited { pid: gone } if gone == pid), "{error}");
        assert!(error.hint().is_some());
    };
    is_exit(observer.audit().err());
    is_exit(observer.snapshot().err());
    is_exit(observer.page_list().err());
}

fn a_server_that_is_killed_is_noticed(release: Release) {
    let mut server = start(release, Config::new().pool_mib(32));
    let mut observer = observe(&server);
    observer.audit().unwrap();
    let pid = server.pid();
    server.kill().unwrap();
    assert_exited(&mut observer, pid);
}

/// It shuts down in order under the probes, and the new process is observed like any other.
fn a_server_that_starts_again_is_another(release: Release) {
    let mut server = start(release, Config::new().pool_mib(32));
    let mut observer = observe(&server);
    let pid = server.pid();
    server.shut_down().unwrap();
    assert_exited(&mut observer, pid);
    server.start_again().unwrap();
    assert_exited(&mut observer, pid);
    let mut again = observe(&server);
    assert_eq!(again.audit().unwrap(), 0);
    assert!(again.page_list().unwrap().facts.pages > 50);
}

/// The debugger makes it call `execl`.
fn becomes_sleep(server: &Server) {
    let call = r#"call (int) execl("/bin/sleep", "sleep", "1000", (char *) 0)"#;
    let pid = server.pid().to_string();
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-p", &pid, "-ex", "set confirm off", "-ex", call]);
    let mut gdb =
        gdb.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert!(eventually(|| is_executing(&pid)), "the debugger does not make it call `execl`");
    // `execve` waits for all other threads to be reaped. gdb may wait for the call at that time,
    // for ever; without it the kernel reaps them.
    gdb.kill().unwrap();
    gdb.wait().unwrap();
    assert!(eventually(|| is_sleep(&pid)), "it has not become `sleep`");
}

fn is_sleep(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep")
}

/// Whether it has begun to execute another program, which ends its other threads, or does already.
fn is_executing(pid: &str) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let is_zombie = |path: &Path| {
        fs::read_to_string(path.join("status")).is_ok_and(|status| status.contains("State:\tZ"))
    };
    is_sleep(pid) || threads.flatten().any(|thread| is_zombie(&thread.path()))
}

#[test]
fn a_server_that_becomes_another_program_is_noticed() {
    const TEST: &str = "a_server_that_becomes_another_program_is_noticed";
    crate::lab::run(TEST, Release::Mysql56, |release| {
        if !command::exists("gdb") {
            return skipped(TEST, "`gdb` is not installed");
        }
        let server = start(release, Config::new().pool_mib(32));
        let mut observer = observe(&server);
        observer.audit().unwrap();
        becomes_sleep(&server);
        assert_exited(&mut observer, server.pid());
    });
}

/// The program says it too, and ends.
fn the_program_ends_with_the_server(release: Release) {
    let Some(agent) = Agent::find("the_program_ends_with_the_server") else { return };
    let mut server = start(release, Config::new().pool_mib(32));
    let pid = server.pid().to_string();
    let mut child =
        agent.spawn(&["trace", "--format", "text", "--refresh", "100ms", "--pid", &pid]);
    let mut first = [0];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
    server.shut_down().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
    let text = complaint(&output);
    assert!(text.contains("has exited") && text.contains("hint:"), "{text}");
}

on_each_mysql!(
    a_server_that_is_killed_is_noticed,
    a_server_that_starts_again_is_another,
    the_program_ends_with_the_server,
);
