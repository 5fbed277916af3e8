//! The viewer gives the terminal back: the example `viewer_demo` in a real pseudo-terminal.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use test_servers::skipped;

/// Control sequences of the alternate screen and the cursor (xterm's private modes 1049 and 25).
const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";

/// What the terminal received, and whether its settings after the demo are those before it.
struct Session {
    received: String,
    settings_kept: bool,
}

/// Runs the demo under `script`, which makes a pseudo-terminal; `None` and a counted skip where
/// that cannot be had.
fn demo(test: &str, arguments: &str, keys: &str) -> Option<Session> {
    let Some(demo) = example("viewer_demo").filter(|path| path.exists()) else {
        skipped(test, "the example viewer_demo is not built (`cargo test -p userspace` does)");
        return None;
    };
    if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
        skipped(test, "`script` of util-linux is not installed");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let session = format!(
        "stty rows 24 cols 80; stty -g > {}; {} --blocks 5000 {arguments}; stty -g > {}",
        at("before").display(),
        demo.display(),
        at("after").display(),
    );
    let typed = format!("(sleep 1; printf '{keys}'; sleep 2)");
    let run = format!("{typed} | script -qec '{session}' /dev/null");
    let run = Command::new("sh").args(["-c", &run]).stdin(Stdio::null()).output().unwrap();
    let received = String::from_utf8_lossy(&run.stdout).into_owned();
    let read = |name| std::fs::read_to_string(at(name)).unwrap_or_default();
    let settings_kept = !read("before").is_empty() && read("before") == read("after");
    Some(Session { received, settings_kept })
}

/// Cargo puts examples beside the folder of the test programs.
fn example(name: &str) -> Option<PathBuf> {
    Some(env::current_exe().ok()?.parent()?.parent()?.join("examples").join(name))
}

#[track_caller]
fn position(received: &str, wanted: &str) -> usize {
    received.find(wanted).unwrap_or_else(|| panic!("no {wanted:?} in {received:?}"))
}

#[test]
fn a_panic_on_another_thread_gives_the_terminal_back_first() {
    let name = "a_panic_on_another_thread_gives_the_terminal_back_first";
    let Some(session) = demo(name, "--panic-after 1", "") else { return };
    let received = &session.received;
    let left = position(received, LEAVE);
    assert!(position(received, ENTER) < position(received, "Pool map"));
    assert!(position(received, "Pool map") < left && left < position(received, SHOW_CURSOR));
    assert!(left < position(received, "asked for by --panic-after"), "the message was hidden");
    assert!(!received[left..].contains("Pool map"), "it drew on: {received:?}");
    assert!(session.settings_kept);
}

#[test]
fn quitting_gives_the_terminal_back_and_then_the_held_log() {
    let name = "quitting_gives_the_terminal_back_and_then_the_held_log";
    let Some(session) = demo(name, "", "q") else { return };
    let received = &session.received;
    let left = position(received, LEAVE);
    assert!(position(received, "Pool map") < left);
    assert!(left < position(received, "picture 0 is made"), "a log line was drawn over");
    assert!(session.settings_kept);
}
