//! `poolferry-host receive` among strangers: those without its key, and those that are silent when they are in.

use std::io::{Read as _, Write as _};
use std::net::TcpStream as Blocking;
use std::time::{Duration, Instant};

use qemu_glue::channel::{Message, Security};
use qemu_glue::qmp::Qmp;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use test_qemus::Qemu;

use crate::program::{Program, key};
use crate::qemu::{Place, Vm, newest};
use crate::source::{Source, offer};

/// A migration is served so soon, whoever else is there; and ten times what this machine takes where nobody is.
const SOON: Duration = Duration::from_secs(2);
/// Connections of the flood; 32,000 with `POOLFERRY_STRANGERS=32000`.
const STRANGERS: usize = 2000;
/// What is written of all of them, whatever their number.
const LOG_BYTES: usize = 4096;

/// Greets and offers; gives how long the answer took, too.
async fn offered(port: &str, security: &Security) -> (Source, Duration) {
    let begun = Instant::now();
    let mut source = Source::to(port, security).await;
    let answer = source.offer(offer(&[(2048, 0, 64)])).await;
    assert!(matches!(answer, Message::Ready(_)), "{answer:?}");
    (source, begun.elapsed())
}

/// How long that takes where nobody else is.
async fn alone(qemu: &Qemu) -> Duration {
    let place = Place::new();
    let destination = Vm::destination(qemu, &place, None, &[]);
    let (path, security) = key(&place, "key", 1);
    let mut program = Program::start(&destination.socket, &["--key", path.to_str().unwrap()]);
    let port = program.port();
    let (source, took) = offered(&port, &security).await;
    source.finish_alone().await;
    took
}

/// Greets, offers, and has pages installed.
async fn served(qemu: &Qemu, program: &mut Program, port: &str, security: &Security) {
    let (mut source, took) = offered(port, security).await;
    if took >= SOON {
        let alone = alone(qemu).await;
        assert!(took < SOON + 10 * alone, "{took:?}, where nobody else is {alone:?}");
    }
    source.hashes(0, 0..64).await;
    assert_eq!(source.answers(64).await.0.len(), 64);
    source.finish_alone().await;
    program.event("finished");
}

/// Silent connections, before and while a source is served; and QEMU's monitor is free until there is one.
#[tokio::test(flavor = "multi_thread")]
async fn silent_strangers_stop_nothing() {
    let Some(qemu) = newest("silent_strangers_stop_nothing") else { return };
    for strangers in [3, 100] {
        let place = Place::new();
        let destination = Vm::destination(&qemu, &place, None, &[]);
        let (path, security) = key(&place, "key", 1);
        let mut program = Program::start(&destination.socket, &["--key", path.to_str().unwrap()]);
        let port = program.port();
        let silent: Vec<Blocking> =
            (0..strangers).map(|_| Blocking::connect(&port).unwrap()).collect();
        let monitor = Qmp::connect(&destination.socket).await;
        drop(monitor.expect("nobody has the monitor"));
        served(&qemu, &mut program, &port, &security).await;
        drop(silent);
        assert_eq!(program.ended().0, Some(0));
    }
}

/// Whoever has recorded what a source says first, can say it; but has neither slot nor monitor for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_takes_neither_slot_nor_monitor() {
    let Some(qemu) = newest("a_replay_takes_neither_slot_nor_monitor") else { return };
    let place = Place::new();
    let destination = Vm::destination(&qemu, &place, None, &[]);
    let (path, security) = key(&place, "key", 1);
    let mut program = Program::start(&destination.socket, &["--key", path.to_str().unwrap()]);
    let port = program.port();
    let text = crate::source::first_words(&port, &security).await;
    let mut replays = Vec::new();
    for _ in 0..3 {
        let mut replay = Blocking::connect(&port).unwrap();
        replay.write_all(&text).unwrap();
        // The handshake is right, as far as it goes.
        let mut answer = [0; 58];
        replay.read_exact(&mut answer).unwrap();
        replays.push(replay);
    }
    let monitor = Qmp::connect(&destination.socket).await;
    drop(monitor.expect("nobody has the monitor"));
    served(&qemu, &mut program, &port, &security).await;
    assert_eq!(program.ended().0, Some(0));
}

/// A flood of connections that are no source's: a line of each kind a minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_strangers_leaves_a_few_lines() {
    let Some(qemu) = newest("a_flood_of_strangers_leaves_a_few_lines") else { return };
    let strangers = std::env::var("POOLFERRY_STRANGERS").ok().and_then(|n| n.parse().ok());
    let strangers = strangers.unwrap_or(STRANGERS);
    let place = Place::new();
    let destination = Vm::destination(&qemu, &place, None, &[]);
    let (path, security) = key(&place, "key", 1);
    let mut program = Program::start(&destination.socket, &["--key", path.to_str().unwrap()]);
    let port = program.port();
    for number in 0..strangers {
        let mut stranger = Blocking::connect(&port).unwrap();
        let words =
            [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PFERRY1P", b"PFERRY1N\x30\x00", b""][number % 4];
        // It may have been sent away already.
        let _ = stranger.write_all(words);
    }
    served(&qemu, &mut program, &port, &security).await;
    let (code, log) = program.ended();
    println!("{} bytes of log for {strangers} strangers:\n{log}", log.len());
    assert_eq!(code, Some(0));
    assert!(log.contains("strangers") || log.contains("does not speak"), "{log}");
    assert!(log.len() < LOG_BYTES, "{} bytes", log.len());
}

/// Out of descriptors, it goes on when there are some again.
#[tokio::test(flavor = "multi_thread")]
async fn it_outlives_a_want_of_descriptors() {
    let Some(qemu) = newest("it_outlives_a_want_of_descriptors") else { return };
    let place = Place::new();
    let destination = Vm::destination(&qemu, &place, None, &[]);
    let (path, security) = key(&place, "key", 1);
    let mut program = Program::start(&destination.socket, &["--key", path.to_str().unwrap()]);
    let port = program.port();
    let pid = Pid::from_child(&program.child);
    let open = std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).unwrap().count();
    // Its limit is this program's.
    let usual = getrlimit(Resource::Nofile);
    let few = Rlimit { current: Some(open as u64 + 2), ..usual };
    prlimit(Some(pid), Resource::Nofile, few).unwrap();
    let strangers: Vec<_> = (0..20).map(|_| Blocking::connect(&port).unwrap()).collect();
    std::thread::sleep(Duration::from_millis(500));
    assert!(program.child.try_wait().unwrap().is_none(), "it has ended: {}", program.ended().1);
    prlimit(Some(pid), Resource::Nofile, usual).unwrap();
    drop(strangers);
    served(&qemu, &mut program, &port, &security).await;
    let (code, log) = program.ended();
    assert!(code == Some(0) && log.contains("failed to accept"), "{log}");
}

/// One that says nothing after its offer, or only what is nothing: it is left, and the program goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_does_nothing_is_left() {
    let Some(qemu) = newest("a_source_that_does_nothing_is_left") else { return };
    for chatters in [false, true] {
        let place = Place::new();
        let destination = Vm::destination(&qemu, &place, None, &[]);
        let mut program =
            Program::start(&destination.socket, &["--plain", "--source-timeout", "1"]);
        let mut source = Source::to(&program.port(), &Security::Plain).await;
        let answer = source.offer(offer(&[(2048, 0, 64)])).await;
        assert!(matches!(answer, Message::Ready(_)), "{answer:?}");
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            if chatters && source.sender.send(&Message::Redirtied(Vec::new())).await.is_err() {
                break;
            }
            // Progress comes until it is left.
            let message = source.receiver.receive();
            if let Ok(Err(_)) = tokio::time::timeout(Duration::from_millis(100), message).await {
                break;
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "it is served still");
        let (_, log) = program.ended();
        assert!(log.contains("anything of use"), "{log}");
    }
}

/// One that takes no answers does not keep the receiver when it goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_greets_and_is_silent_is_left() {
    let Some(qemu) = newest("a_source_that_greets_and_is_silent_is_left") else { return };
    let place = Place::new();
    let destination = Vm::destination(&qemu, &place, None, &[]);
    let mut program = Program::start(&destination.socket, &["--plain"]);
    let port = program.port();
    let begun = Instant::now();
    let mut silent = Source::to(&port, &Security::Plain).await;
    while silent.receiver.receive().await.is_ok() {}
    assert!(begun.elapsed() < Duration::from_secs(13), "{:?}", begun.elapsed());
    served(&qemu, &mut program, &port, &Security::Plain).await;
    assert_eq!(program.ended().0, Some(0));
}
