//! A user's program on an overlay over its own FUSE, which answers nobody: nothing of it is asked, so nobody waits.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use test_servers::{Config, Release, skipped};

use crate::agent::Agent;
use crate::lab::{eventually, open, run, start};
use crate::stall::LIMIT;
use crate::text::{Text, assert_unharmed};

/// Whoever waits so long waits for ever.
const LONG: Duration = Duration::from_secs(10);

/// The program and its file systems; whoever waits for them is let go at the end.
pub(crate) struct Mute {
    mounter: Child,
    output: BufReader<ChildStdout>,
    pid: u32,
}

impl Mute {
    /// Starts it, still answering; none where such file systems cannot be had.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let mut mounter = Command::new(env!("CARGO_BIN_EXE_mute-overlay"))
            .arg("/bin/sleep")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(mounter.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        match line.trim().parse() {
            Ok(pid) => Some(Self { mounter, output, pid }),
            Err(_) => {
                assert_eq!(mounter.wait().unwrap().code(), Some(77), "{line}");
                skipped(test, format_args!("no FUSE of a user: {}", line.trim()));
                None
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// From here on nothing is answered.
    pub(crate) fn fall_silent(&mut self) {
        self.mounter.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line, "mute\n");
    }

    /// What is said of a look, which ends.
    fn looked<T: Send + 'static>(
        &mut self,
        what: &str,
        look: impl FnOnce(u32) -> T + Send + 'static,
    ) -> T {
        let (pid, (sender, done)) = (self.pid, channel());
        let look = thread::spawn(move || drop(sender.send(look(pid))));
        let found = done.recv_timeout(LONG);
        if found.is_err() {
            self.end();
        }
        look.join().unwrap();
        found.unwrap_or_else(|_| panic!("{what}: waits until the file system is gone"))
    }

    fn end(&mut self) {
        let _ = self.mounter.kill();
        let _ = self.mounter.wait();
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        self.end();
    }
}

fn text(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Every door that a process's files go through.
#[test]
fn a_users_overlay_is_not_asked() {
    let Some(mut mute) = Mute::start("a_users_overlay_is_not_asked") else { return };
    mute.fall_silent();
    let proc = |pid: u32, name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
    // What kind of process it is, the kernel knows.
    let target = mute.looked("the process", |pid| userspace::target::Target::of(pid).is_ok());
    assert!(target);
    let program = mute.looked("the program's text", move |pid| {
        symbols::text::ProgramText::open(&proc(pid, "exe")).map_err(|error| text(&error))
    });
    println!("{:?}", program.as_ref().err());
    assert!(program.unwrap_err().contains("overlay that a user has mounted"));
    let copied = mute.looked("a copy of the program", move |pid| {
        let (program, root) = (proc(pid, "exe"), proc(pid, "root"));
        let target = symbols::ProgramPaths { program: &program, root: &root };
        let options = symbols::Options { cache_dir: None, ..Default::default() };
        symbols::resolve(&target, &options)
            .map(drop)
            .map_err(|error| (text(&error), error.hint().map(str::to_owned)))
    });
    let (output, hint) = copied.unwrap_err();
    println!("{output}; hint: {hint:?}");
    assert!(output.contains("overlay that a user has mounted"), "{output}");
    assert!(hint.is_some_and(|hint: String| hint.contains("that root has mounted")));
    let held = mute.looked("a held file", move |pid| foreign_file::held_by(&proc(pid, "exe")));
    assert!(matches!(held, Err(foreign_file::Refusal::FileSystem { .. })), "{held:?}");
    let cwd = std::fs::read_link(proc(mute.pid(), "cwd")).unwrap();
    let below = mute.looked("a file below its root", move |pid| {
        let path = cwd.strip_prefix("/").unwrap().join("mysqld");
        foreign_file::program(&proc(pid, "root").join(path))
    });
    assert!(matches!(below, Err(foreign_file::Refusal::FileSystem { .. })), "{below:?}");
    let data = mute.looked("data files", |pid| {
        let mut locator = userspace::locate::Locator::open(pid).map_err(|error| text(&error))?;
        locator.refresh().map_err(|error| text(&error))
    });
    println!("data files: {data:?}");
}

/// An agent that has looked at such a program ends as ever, and takes its probes with it.
#[test]
fn an_agent_that_has_met_one_ends() {
    const TEST: &str = "an_agent_that_has_met_one_ends";
    run(TEST, Release::Mysql56, agent_ends);
}

fn agent_ends(release: Release) {
    const TEST: &str = "an_agent_that_has_met_one_ends";
    let Some(agent) = Agent::find(TEST) else { return };
    let Some(mut mute) = Mute::start(TEST) else { return };
    mute.fall_silent();
    let server = start(release, Config::new().pool_mib(32));
    let text = Text::of(&open(&server));
    let folder = tempfile::tempdir().unwrap();
    let port = format!("unix:{}", folder.path().join("port").display());
    let (pid, muted) = (server.pid().to_string(), mute.pid().to_string());
    for signal in [Signal::TERM, Signal::KILL] {
        let mut child =
            agent.spawn(&["agent", "--pid", &pid, "--pid", &muted, "--port", &port, "-vv"]);
        let (sender, lines) = channel();
        let output = BufReader::new(child.stderr.take().unwrap()).lines();
        let reading = thread::spawn(move || {
            output.map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        let (mut attached, mut refused) = (false, false);
        while !(attached && refused) {
            let Ok(line) = lines.recv_timeout(LONG) else { break };
            attached |= line.contains("attached to");
            refused |= line.contains("overlay that a user has mounted");
        }
        let probes = text.changed();
        let since = Instant::now();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let has_ended = eventually(|| child.try_wait().unwrap().is_some());
        let took = since.elapsed();
        let in_time = has_ended && took < LIMIT;
        println!("{signal:?} after {took:?}, attached {attached}, refused {refused}");
        // Whoever waits for it is let go before anything else is said.
        if !in_time || !refused {
            mute.end();
        }
        child.wait().unwrap();
        drop(lines);
        reading.join().unwrap();
        assert!(attached && probes >= 3, "{probes} probes are set");
        assert!(refused, "the silent program was not refused");
        assert!(in_time, "{signal:?} does not end it");
        assert_unharmed(&server, server.pid(), &text);
    }
}
