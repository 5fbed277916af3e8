//! The client against a peer that answers late, out of order, wrongly, or not at all.

use std::path::PathBuf;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;

use super::*;

const GREETING_LINE: &str = r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": "x"}, "capabilities": ["oob"]}}"#;

/// A peer that greets, then answers each command with the lines that `answer` gives.
async fn peer(
    answer: impl Fn(&Value) -> Vec<String> + Send + 'static,
) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qmp");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (read, mut write) = stream.into_split();
        write.write_all(format!("{GREETING_LINE}\r\n").as_bytes()).await.unwrap();
        let mut lines = BufReader::new(read).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let command: Value = serde_json::from_str(&line).unwrap();
            for line in answer(&command) {
                write.write_all(line.as_bytes()).await.unwrap();
                write.write_all(b"\r\n").await.unwrap();
            }
            if command["execute"] == "quit" {
                return;
            }
        }
    });
    (folder, path)
}

fn ok(command: &Value, value: Value) -> String {
    json!({ "return": value, "id": command["id"] }).to_string()
}

#[tokio::test]
async fn answers_events_and_refusals_reach_whom_they_concern() {
    let (_folder, path) = peer(|command| match command["execute"].as_str().unwrap() {
        "query-status" => vec![
            r#"{"event": "STOP", "timestamp": {"seconds": 3, "microseconds": 500000}}"#.to_owned(),
            json!({ "return": {}, "id": 999 }).to_string(),
            ok(command, json!({ "status": "running" })),
        ],
        "bad" => vec![json!({ "error": { "desc": "no" }, "id": command["id"] }).to_string()],
        _ => vec![ok(command, json!({}))],
    })
    .await;
    let qmp = Qmp::connect(&path).await.unwrap();
    assert_eq!(qmp.version().to_string(), "10.0.2");
    assert_eq!(qmp.peer_pid().unwrap(), std::process::id());
    let mut events = qmp.events();
    let status = qmp.execute("query-status", json!({})).await.unwrap();
    assert_eq!(status["status"], "running");
    let event = events.recv().await.unwrap();
    assert_eq!((&*event.name, event.at), ("STOP", Duration::from_millis(3500)));
    let error = qmp.execute("bad", json!({})).await.unwrap_err();
    assert_eq!(error.to_string(), "QEMU refused `bad`: no");
    assert!(!error.is_fatal());
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_not_waited_for() {
    let (_folder, path) = peer(|command| match command["execute"].as_str().unwrap() {
        "mute" => Vec::new(),
        _ => vec![ok(command, json!({}))],
    })
    .await;
    let qmp = Qmp::connect(&path).await.unwrap();
    let short = Duration::from_millis(50);
    let error = qmp.execute_within("mute", json!({}), short).await.unwrap_err();
    assert!(matches!(error, QmpError::TimedOut { .. }), "{error}");
    qmp.execute("next", json!({})).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_ends_wakes_all_who_wait() {
    let (_folder, path) = peer(|command| match command["execute"].as_str().unwrap() {
        "quit" => Vec::new(),
        _ => vec![ok(command, json!({}))],
    })
    .await;
    let qmp = Qmp::connect(&path).await.unwrap();
    let error = qmp.execute("quit", json!({})).await.unwrap_err();
    assert!(matches!(error, QmpError::Closed), "{error}");
    let error = qmp.execute("query-status", json!({})).await.unwrap_err();
    assert!(error.is_fatal(), "{error}");
}

#[tokio::test]
async fn what_is_no_qemu_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qmp");
    let error = Qmp::connect(&path).await.err().unwrap();
    assert!(matches!(error, QmpError::Connect { .. }) && error.hint().is_some());
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        for line in ["{}\n", "hello\n", "[]\n"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(line.as_bytes()).await.unwrap();
        }
    });
    for _ in 0..3 {
        let error = Qmp::connect(&path).await.err().unwrap();
        assert!(matches!(error, QmpError::NotQmp { .. } | QmpError::NotJson(_)), "{error}");
    }
}

/// A caller that gives up leaves nobody behind who waits.
#[tokio::test]
async fn a_command_that_is_cancelled_leaves_no_waiter() {
    let (_folder, path) = peer(|command| match command["execute"].as_str().unwrap() {
        "mute" => Vec::new(),
        _ => vec![ok(command, json!({}))],
    })
    .await;
    let qmp = Qmp::connect(&path).await.unwrap();
    for _ in 0..3 {
        let short = Duration::from_millis(20);
        assert!(timeout(short, qmp.execute("mute", json!({}))).await.is_err());
    }
    assert_eq!(qmp.waiters.count(), 0);
    qmp.execute("next", json!({})).await.unwrap();
}

/// Nor half a line, which the next command would go on with.
#[tokio::test]
async fn a_command_that_is_cancelled_is_written_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qmp");
    let listener = UnixListener::bind(&path).unwrap();
    let (reads, mut may_read) = tokio::sync::mpsc::channel::<()>(1);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (read, mut write) = stream.into_split();
        write.write_all(format!("{GREETING_LINE}\r\n").as_bytes()).await.unwrap();
        let mut lines = BufReader::new(read).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let command: Value = serde_json::from_str(&line).unwrap();
            write.write_all(format!("{}\r\n", ok(&command, json!({}))).as_bytes()).await.unwrap();
            may_read.recv().await;
        }
    });
    let qmp = Qmp::connect(&path).await.unwrap();
    // More than a socket takes while nobody reads.
    let long = json!({ "long": "x".repeat(4 << 20) });
    assert!(timeout(Duration::from_millis(100), qmp.execute("long", long)).await.is_err());
    drop(reads);
    let next = timeout(Duration::from_secs(20), qmp.execute("next", json!({}))).await;
    next.unwrap().unwrap();
}

/// What is logged while the tests of this module run.
struct Logged(std::sync::Mutex<Vec<String>>);

static LOGGED: Logged = Logged(std::sync::Mutex::new(Vec::new()));

impl log::Log for Logged {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// A QEMU that quits leaves commands unread, and so resets the connection: no trouble for the side that sent `quit`.
#[tokio::test(flavor = "multi_thread")]
async fn who_tells_qemu_to_quit_is_not_warned_that_it_does() {
    let _ = log::set_logger(&LOGGED);
    log::set_max_level(log::LevelFilter::Warn);
    let broke = || {
        let logged = LOGGED.0.lock().unwrap();
        logged.iter().filter(|text| text.contains("reset by peer")).count()
    };
    for is_expected in [false, true] {
        let before = broke();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let peer = std::thread::spawn(move || {
            use std::io::{BufRead as _, Write as _};
            let (stream, _) = listener.accept().unwrap();
            (&stream).write_all(format!("{GREETING_LINE}\r\n").as_bytes()).unwrap();
            let mut lines = std::io::BufReader::with_capacity(1, &stream);
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            let command: Value = serde_json::from_str(&line).unwrap();
            (&stream).write_all(format!("{}\n", ok(&command, json!({}))).as_bytes()).unwrap();
            // The first byte of the next command is read, the rest is not.
            lines.fill_buf().unwrap();
        });
        let qmp = Qmp::connect(&path).await.unwrap();
        if is_expected {
            qmp.quit().await.unwrap();
        } else {
            qmp.execute("quit", json!({})).await.unwrap_err();
        }
        peer.join().unwrap();
        assert_eq!(broke() - before, usize::from(!is_expected), "{:?}", LOGGED.0.lock().unwrap());
    }
}
