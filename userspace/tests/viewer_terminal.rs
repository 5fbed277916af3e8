//! The viewer gives the terminal back: the example `viewer_demo` in a real pseudo-terminal.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, fs};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use test_servers::skipped;

/// Control sequences of the alternate screen and the cursor (xterm's private modes 1049 and 25).
const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";

/// Longest that anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The demo in a pseudo-terminal made by `script`.
struct Session {
    folder: TempDir,
    script: Child,
}

impl Session {
    /// Starts the demo; `None` and a counted skip where that cannot be done.
    fn start(test: &str, arguments: &str) -> io::Result<Option<Self>> {
        Self::start_as(test, |demo| {
            format!("LC_ALL=C.UTF-8 TERM=xterm-256color {demo} {arguments}")
        })
    }

    /// Starts lines of bash with job control, given the demo's own.
    fn start_as(test: &str, lines: impl Fn(&str) -> String) -> io::Result<Option<Self>> {
        if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
            skipped(test, "`script` of util-linux is not installed");
            return Ok(None);
        }
        let Some(demo) = example("viewer_demo").filter(|path| path.exists()) else {
            skipped(test, "the example viewer_demo is not built (`cargo test -p userspace` does)");
            return Ok(None);
        };
        let folder = tempfile::tempdir()?;
        let demo = format!("{} --blocks 5000", demo.display());
        let lines = lines(&demo);
        let lines = format!("stty rows 24 cols 80; stty -g >before\n{lines}\nstty -g >after\n");
        fs::write(folder.path().join("lines"), lines)?;
        let script = Command::new("script")
            .args(["-qfc", "bash --norc -m lines", "received"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Some(Self { folder, script }))
    }

    /// What the terminal has received so far.
    fn received(&self) -> String {
        self.read("received")
    }

    /// Whether the terminal's settings are those from before the demo.
    fn settings_kept(&self) -> bool {
        let before = self.read("before");
        !before.is_empty() && before == self.read("after")
    }

    fn type_keys(&mut self, keys: &str) -> io::Result<()> {
        let Some(keyboard) = &mut self.script.stdin else { return Ok(()) };
        keyboard.write_all(keys.as_bytes())
    }

    fn wait_for(&self, text: &str) {
        self.wait(text, || self.received().contains(text));
    }

    fn wait_for_end(&mut self) -> io::Result<()> {
        self.wait("the end", || !self.read("after").is_empty());
        drop(self.script.stdin.take());
        self.script.wait().map(|_| ())
    }

    fn wait(&self, what: &str, happened: impl Fn() -> bool) {
        let start = Instant::now();
        while !happened() {
            assert!(start.elapsed() < PATIENCE, "no {what} in {:?}", self.received());
            sleep(Duration::from_millis(50));
        }
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.folder.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // its own child only, and only when a test has failed half-way
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
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
fn a_panic_on_another_thread_gives_the_terminal_back_first() -> io::Result<()> {
    let name = "a_panic_on_another_thread_gives_the_terminal_back_first";
    let Some(mut session) = Session::start(name, "--panic-after 2")? else { return Ok(()) };
    session.wait_for_end()?;
    let received = session.received();
    let (entered, left) = (position(&received, ENTER), position(&received, LEAVE));
    assert!(entered < position(&received, "Pool map") && position(&received, "Pool map") < left);
    assert!(left < position(&received, SHOW_CURSOR));
    assert!(left < position(&received, "asked for by --panic-after"), "the message was hidden");
    assert!(!received[left..].contains("live,"), "it drew on: {received:?}");
    assert!(session.settings_kept());
    Ok(())
}

#[test]
fn quitting_gives_the_terminal_back_and_then_the_held_log() -> io::Result<()> {
    let name = "quitting_gives_the_terminal_back_and_then_the_held_log";
    let Some(mut session) = Session::start(name, "")? else { return Ok(()) };
    session.wait_for("Pool map");
    // the demo logs the command before it makes the snapshot with the events
    session.type_keys("4t")?;
    session.wait_for("written");
    session.type_keys("q")?;
    session.wait_for_end()?;
    let received = session.received();
    let left = position(&received, LEAVE);
    assert!(left < position(&received, "wanted: Trace(true)"), "a log line was drawn over");
    assert!(session.settings_kept());
    Ok(())
}

/// Waits until the shell has the terminal, checks that it was given back, and says `fg`; gives what was received by then.
fn parked_and_back(session: &mut Session, parked: &str) -> io::Result<usize> {
    session.wait_for(parked);
    let until = session.received().len();
    session.type_keys("\n")?;
    session.wait("screen drawn anew", || {
        let received = session.received();
        received[until..].contains(ENTER) && received[until..].contains("Pool map")
    });
    Ok(until)
}

#[test]
fn control_z_parks_the_viewer_and_fg_draws_it_anew() -> io::Result<()> {
    let name = "control_z_parks_the_viewer_and_fg_draws_it_anew";
    let lines = |demo: &str| {
        format!(
            "LC_ALL=C.UTF-8 TERM=xterm {demo}\necho parked with $?\nstty -g >parked\nread -r line\nfg >/dev/null"
        )
    };
    let Some(mut session) = Session::start_as(name, lines)? else { return Ok(()) };
    session.wait_for("Pool map");
    session.type_keys("\u{1a}")?;
    // 128 and the number of SIGTSTP.
    let until = parked_and_back(&mut session, "parked with 148")?;
    let received = session.received();
    let left = position(&received, LEAVE);
    assert!(left < position(&received, SHOW_CURSOR));
    assert!(position(&received, SHOW_CURSOR) < position(&received, "parked with"));
    assert_eq!(session.read("parked"), session.read("before"), "raw mode was left on");
    session.type_keys("q")?;
    session.wait_for_end()?;
    assert!(session.received()[until..].contains(LEAVE));
    assert!(session.settings_kept());
    Ok(())
}

#[test]
fn signals_of_job_control_do_the_same() -> io::Result<()> {
    let name = "signals_of_job_control_do_the_same";
    // Begun in the background, where the kernel stops who takes the terminal.
    let lines = |demo: &str| {
        let park = |number| format!("fg >/dev/null\necho parked {number} with $?\nread -r line\n");
        format!(
            "LC_ALL=C.UTF-8 TERM=xterm {demo} &\necho $! >pid\n{}{}fg >/dev/null",
            park(1),
            park(2)
        )
    };
    let Some(mut session) = Session::start_as(name, lines)? else { return Ok(()) };
    session.wait_for("Pool map");
    let pid: i32 = session.read("pid").trim().parse().map_err(io::Error::other)?;
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
    kill_process(pid, Signal::TSTP)?;
    let until = parked_and_back(&mut session, "parked 1 with 148")?;
    assert!(session.received()[..until].contains(LEAVE), "the shell got the viewer's screen");
    // Nobody can give anything back then, but take it again.
    kill_process(pid, Signal::STOP)?;
    parked_and_back(&mut session, "parked 2 with 147")?;
    kill_process(pid, Signal::TERM)?;
    session.wait_for_end()
}

#[test]
fn a_dumb_terminal_gets_text() -> io::Result<()> {
    let name = "a_dumb_terminal_gets_text";
    let lines = |demo: &str| format!("TERM=dumb {demo} --snapshots 1");
    let Some(mut session) = Session::start_as(name, lines)? else { return Ok(()) };
    session.wait_for_end()?;
    let received = session.received();
    assert!(!received.contains('\u{1b}'), "{received:?}");
    assert!(received.contains("text instead of the viewer") && received.contains("eligible"));
    Ok(())
}

#[test]
fn a_terminal_without_utf_8_gets_ascii() -> io::Result<()> {
    let name = "a_terminal_without_utf_8_gets_ascii";
    let lines = |demo: &str| format!("LC_ALL=C TERM=xterm {demo}");
    let Some(mut session) = Session::start_as(name, lines)? else { return Ok(()) };
    session.wait_for("Pool map");
    session.type_keys("2")?;
    session.wait_for("sbtest");
    session.type_keys("q")?;
    session.wait_for_end()?;
    assert!(session.received().is_ascii(), "{:?}", session.received());
    Ok(())
}
