//! `poolferry-host migrate` ends within 3 s of a signal, and of its `--timeout`, whatever QEMU and the destination do.
//! Both are fakes, for faults that the real ones show by chance.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use qemu_glue::channel::VERSION;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What is promised.
const END: Duration = Duration::from_secs(3);

/// What is wrong with a QEMU.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// It answers nothing from `migrate` on.
    Mute,
    /// It takes `migrate_cancel`, and goes on.
    NeverCancelled,
}

/// Serves QEMU's monitor at a socket in `folder`; gives the socket, and the names of commands as they come.
fn qemu(folder: &TempDir, fault: Fault) -> (PathBuf, Receiver<String>) {
    let path = folder.path().join("qmp");
    let listener = UnixListener::bind(&path).expect("it works");
    let (sender, commands) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let sender = sender.clone();
            thread::spawn(move || serve(stream.expect("it works"), fault, &sender));
        }
    });
    (path, commands)
}

fn serve(mut out: UnixStream, fault: Fault, sender: &Sender<String>) {
    let version = json!({"qemu": {"major": 10, "minor": 0, "micro": 2}});
    let _ = writeln!(out, "{}", json!({"QMP": {"version": version, "capabilities": []}}));
    let mut status = "none";
    for line in BufReader::new(out.try_clone().expect("it works")).lines() {
        let Ok(line) = line else { return };
        let requested: Value = serde_json::from_str(&line).expect("it works");
        let name = requested["execute"].as_str().expect("it works");
        match (name, fault) {
            ("migrate", _) => status = "active",
            ("migrate_cancel", Fault::NeverCancelled) => status = "cancelling",
            ("migrate_cancel", _) => status = "cancelled",
            _ => {}
        }
        let _ = sender.send(name.to_owned());
        if fault == Fault::Mute && status == "active" {
            continue;
        }
        let answer = match name {
            "query-status" => json!({"status": "running", "running": true}),
            "query-migrate-parameters" => json!({"max-bandwidth": 0, "downtime-limit": 300}),
            "query-kvm" => json!({"enabled": true, "present": true}),
            "query-uuid" => json!({"UUID": "00000000-0000-0000-0000-000000000000"}),
            "query-migrate" => json!({"status": status}),
            "query-cpus-fast" | "query-migrate-capabilities" | "qom-list" => json!([]),
            "query-named-block-nodes" => json!([]),
            "human-monitor-command" => json!(""),
            _ => json!({}),
        };
        let _ = writeln!(out, "{}", json!({"id": requested["id"], "return": answer}));
    }
}

/// One frame of the plain channel.
fn frame(kind: u8, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = u32::try_from(body.len() + 1).expect("it works");
    [&length.to_le_bytes()[..], &[kind], body.as_bytes()].concat()
}

/// A receiver that will restore nothing, and is silent from then on.
fn receiver() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("it works");
    let address = listener.local_addr().expect("it works").to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("it works");
        let hello = json!({"version": VERSION, "program": "", "qemu": "", "migration": ""});
        let refused = json!({"reason": "no", "hint": "", "uri": "tcp:127.0.0.1:9"});
        let text = [b"PFERRY1P", &frame(1, &hello)[..], &frame(6, &refused)].concat();
        stream.write_all(&text).expect("it works");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    address
}

fn migrate(qmp: &Path, more: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_poolferry-host"));
    command.args(["migrate", "--plain", "--no-probes", "--agent", "none", "--to", &receiver()]);
    command.arg("--qmp").arg(qmp).args(more);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it works")
}

/// Waits until QEMU got `name`.
fn wait_for(commands: &Receiver<String>, name: &str) {
    while commands.recv_timeout(Duration::from_secs(20)).expect("it gets it") != name {}
}

/// Waits for the end, which has to come in time; gives the exit code and all that it has said.
fn ends(mut child: Child, from: Instant) -> (Option<i32>, String) {
    let status = loop {
        if let Some(status) = child.try_wait().expect("it works") {
            break status;
        }
        if from.elapsed() > 3 * END {
            child.kill().expect("it works");
            panic!("it goes on after {:?}", from.elapsed());
        }
        sleep(Duration::from_millis(10));
    };
    let took = from.elapsed();
    let mut text = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut text).expect("it works");
    child.stderr.take().expect("a pipe").read_to_string(&mut text).expect("it works");
    assert!(took < END, "it took {took:?}: {text}");
    (status.code(), text)
}

/// A migration that gets SIGTERM once QEMU got `migrate`.
fn terminated(fault: Fault) -> (String, Receiver<String>) {
    let folder = tempfile::tempdir().expect("it works");
    let (qmp, commands) = qemu(&folder, fault);
    let child = migrate(&qmp, &[]);
    wait_for(&commands, "migrate");
    sleep(Duration::from_millis(300));
    let signalled = Instant::now();
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it works");
    let (code, text) = ends(child, signalled);
    assert_eq!(code, Some(1), "{text}");
    (text, commands)
}

/// Whether QEMU was given other limits since `migrate_cancel`.
fn limits_are_back(commands: &Receiver<String>) -> bool {
    wait_for(commands, "migrate_cancel");
    loop {
        match commands.recv_timeout(Duration::from_millis(100)) {
            Ok(name) if name == "migrate-set-parameters" => return true,
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
        }
    }
}

#[test]
fn of_a_receiver_that_is_silent() {
    let (text, commands) = terminated(Fault::Nothing);
    assert!(text.contains("cancelled"), "{text}");
    assert!(limits_are_back(&commands), "{text}");
}

#[test]
fn of_a_qemu_that_is_mute() {
    let (text, _) = terminated(Fault::Mute);
    assert!(text.contains("QEMU has not ended it within"), "{text}");
    assert!(text.contains("`poolferry-host watchdog` goes on"), "{text}");
}

#[test]
fn of_a_qemu_that_goes_on() {
    let (text, commands) = terminated(Fault::NeverCancelled);
    assert!(text.contains("QEMU has not ended it within"), "{text}");
    assert!(limits_are_back(&commands), "{text}");
}

#[test]
fn of_the_time_that_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let (qmp, commands) = qemu(&folder, Fault::Mute);
    let child = migrate(&qmp, &["--timeout", "1"]);
    wait_for(&commands, "migrate");
    let (code, text) = ends(child, Instant::now() + Duration::from_secs(1));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("it took longer than allowed"), "{text}");
}

/// What is wrong is the first thing said, and the only one.
#[test]
fn of_a_monitor_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let (code, text) = ends(migrate(&folder.path().join("qmp"), &[]), begun);
    assert_eq!(code, Some(1), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let [error, hint] = lines[..] else { panic!("{text}") };
    assert!(error.starts_with("error: failed to connect to QEMU's monitor"), "{text}");
    assert!(hint.starts_with("hint: start QEMU with `-qmp unix:"), "{text}");
}
