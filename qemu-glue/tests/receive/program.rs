//! `poolferry-host receive` as a program.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use qemu_glue::channel::{ChannelError, Key, Message, Security, connect};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::qemu::{Place, Vm, newest};
use crate::source::{Source, offer};

/// The program; it ends with this.
pub(crate) struct Program {
    pub(crate) child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Program {
    pub(crate) fn start(qmp: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_poolferry-host"));
        command.args(["receive", "--listen", "127.0.0.1:0", "--migration-address", "127.0.0.1"]);
        command.args(["--format", "jsonl", "--once", "--qmp"]).arg(qmp).args(more);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next event of a name.
    pub(crate) fn event(&mut self, name: &str) -> Value {
        loop {
            let line = self.lines.next().expect("an event").unwrap();
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["event"] == name {
                return event;
            }
        }
    }

    pub(crate) fn port(&mut self) -> String {
        self.event("listening")["address"].as_str().unwrap().to_owned()
    }

    /// Its exit code, within 20 s, and what it said of errors.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        let status = self.child.wait().unwrap();
        let errors = std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap();
        (status.code(), errors)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn key(place: &Place, name: &str, byte: u8) -> (PathBuf, Security) {
    let path = place.path(name);
    let bytes: [u8; 32] = std::array::from_fn(|number| byte + u8::try_from(number).unwrap());
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let key = Key::read(&path).unwrap();
    (path, Security::Key(key))
}

/// Serves one migration with a key, after somebody with another one, and ends with 0.
#[tokio::test(flavor = "multi_thread")]
async fn one_migration_with_a_key() {
    let Some(qemu) = newest("one_migration_with_a_key") else { return };
    let place = Place::new();
    let destination = Vm::destination(&qemu, &place, None, &[]);
    let ((path, right), (_, wrong)) = (key(&place, "right", 1), key(&place, "wrong", 2));
    let mut program = Program::start(&destination.socket, &["--key", path.to_str().unwrap()]);
    let port = program.port();
    let stream = TcpStream::connect(&port).await.unwrap();
    let error = connect(stream, &wrong).await.err().unwrap();
    assert!(matches!(error, ChannelError::Rejected), "{error}");

    let mut source = Source::to(&port, &right).await;
    let answer = source.offer(offer(&[(2048, 0, 64)])).await;
    assert!(matches!(answer, Message::Ready(_)), "{answer:?}");
    assert_eq!(program.event("ready")["pages"], 64);
    source.hashes(0, 0..64).await;
    assert_eq!(source.answers(64).await.0.len(), 64);
    assert_eq!(source.finish_alone().await.progress.installed, 64);
    let outcome = program.event("finished")["outcome"].clone();
    assert_eq!(outcome["finished"]["progress"]["installed"], 64, "{outcome}");
    let (code, errors) = program.ended();
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("another key"), "{errors}");
}

/// A signal ends it; the source notices at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_it() {
    let Some(qemu) = newest("a_signal_ends_it") else { return };
    for signal in [Signal::INT, Signal::TERM] {
        let place = Place::new();
        let destination = Vm::destination(&qemu, &place, None, &[]);
        let mut program = Program::start(&destination.socket, &["--plain"]);
        let mut source = Source::to(&program.port(), &Security::Plain).await;
        let answer = source.offer(offer(&[(2048, 0, 64)])).await;
        assert!(matches!(answer, Message::Ready(_)), "{answer:?}");
        kill_process(Pid::from_child(&program.child), signal).unwrap();
        while source.receiver.receive().await.is_ok() {}
        let (code, errors) = program.ended();
        assert_eq!(code, Some(130), "{errors}");
        assert!(errors.contains("travel by network"), "{errors}");
    }
}

/// Without a word on protection it does not start.
#[test]
fn protection_has_to_be_chosen() {
    let program = Program::start(Path::new("/none"), &[]);
    let (code, errors) = program.ended();
    assert_eq!(code, Some(2));
    assert!(errors.contains("--key") && errors.contains("--plain"), "{errors}");
}

/// What it said of errors when a signal has ended it after it listens.
fn looked_ahead(qmp: &Path, more: &[&str]) -> String {
    let mut program = Program::start(qmp, &[&["--plain"], more].concat());
    let port = program.port();
    // A stranger is answered once it has looked.
    let mut stranger = std::net::TcpStream::connect(port).unwrap();
    stranger.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    std::io::Write::write_all(&mut stranger, b"GET / HTTP/1.1\r\n\r\n GET / HTTP/1.1\r\n\r\n")
        .unwrap();
    let _ = std::io::Read::read(&mut stranger, &mut [0; 64]);
    kill_process(Pid::from_child(&program.child), Signal::TERM).unwrap();
    let (code, errors) = program.ended();
    assert_eq!(code, Some(130), "{errors}");
    assert!(errors.lines().any(|line| line == "stopped"), "no migration was under way: {errors}");
    errors
}

/// What keeps a migration from being restored is reported before any source comes.
#[test]
fn what_is_wrong_is_told_at_the_start() {
    let place = Place::new();
    let none = looked_ahead(&place.path("none.qmp"), &[]);
    assert!(none.contains("none.qmp") && none.contains("poolferry-host doctor --qmp"), "{none}");
    let is_ours = |line: &str| line.starts_with("[WARN] no migration can be restored yet");
    assert!(none.lines().any(is_ours), "a module is named: {none}");
    let Some(qemu) = newest("what_is_wrong_is_told_at_the_start") else { return };
    let running = Vm::source(&qemu, &place);
    let text = looked_ahead(&running.socket, &[]);
    assert!(text.contains("does not wait for a migration"), "{text}");
    let waiting = Vm::destination(&qemu, &place, None, &[]);
    let text = looked_ahead(&waiting.socket, &[]);
    assert!(!text.contains("doctor"), "{text}");
    let disk = format!("=file:{}", place.path("disk.raw").display());
    let text = looked_ahead(&waiting.socket, &["--disk", &format!("serial:data{disk}")]);
    assert!(!text.contains("doctor"), "{text}");
    let text = looked_ahead(&waiting.socket, &["--disk", &format!("serial:nope{disk}")]);
    assert!(text.contains("this VM has no disk `serial:nope`; it has serial:data"), "{text}");
}

#[test]
fn an_address_of_another_host_is_refused_with_a_remedy() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_poolferry-host"));
    command.args(["receive", "--plain", "--listen", "192.0.2.1:4445", "--migration-address", "h"]);
    let output = command.args(["--qmp", "/none"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("hint: name an address of this host, or 0.0.0.0"), "{text}");
}
