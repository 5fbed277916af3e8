//! Servers that exit, start again or become another program while they are observed.

use std::process::{Command, Stdio};
use std::time::Duration;

use test_servers::{Config, Release, Server, command, skipped};
use userspace::observer::{ObserveError, Observer};

use crate::agent::{Agent, complaint};
use crate::lab::{eventually, observe, on_each_mysql, start, within};

/// All that an observer can be asked for tells the same.
fn assert_exited(observer: &mut Observer, pid: u32) {
    let is_exit = |error: Option<ObserveError>| {
        let error = error.expect("the server is gone");
        assert!(matches!(error, ObserveError::Exited { pid: gone } if gone == pid), "{error}");
        assert!(error.hint().is_some());
    };
    is_exit(observer.audit().err());
    is_exit(observer.picture().err());
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

/// The debugger makes it call `execl`. The call waits for the other threads to end, which the debugger
/// holds; so the debugger is ended, and what it held goes on.
fn becomes_sleep(server: &Server) {
    let call = r#"call (int) execl("/bin/sleep", "sleep", "1000", (char *) 0)"#;
    let pid = server.pid().to_string();
    let comm = format!("/proc/{pid}/comm");
    let is_sleep = || std::fs::read_to_string(&comm).unwrap_or_default().trim() == "sleep";
    // Reading the symbols takes seconds; on a slow machine the first look may be too short.
    let became = [15, 30, 60].into_iter().any(|seconds| {
        let mut gdb = Command::new("gdb");
        gdb.args(["-nx", "-batch", "-p", &pid, "-ex", "set confirm off", "-ex", call]);
        let mut gdb = gdb.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        within(Duration::from_secs(seconds), is_sleep);
        let _ = gdb.kill();
        gdb.wait().unwrap();
        within(Duration::from_secs(5), is_sleep)
    });
    assert!(became, "gdb did not make the server call execl");
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
    let said = complaint(&output);
    assert!(said.contains("has exited") && said.contains("hint:"), "{said}");
}

on_each_mysql!(
    a_server_that_is_killed_is_noticed,
    a_server_that_starts_again_is_another,
    the_program_ends_with_the_server,
);
