//! The process that keeps the probes: they go with the agent however it ends, whoever holds it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use test_servers::{Config, Release, Server, command, skipped};

use crate::agent::Agent;
use crate::lab::{eventually, open, run, start, within};
use crate::stall::LIMIT;
use crate::text::{Text, assert_unharmed};

/// Maps a file over the data of the program that it is loaded into.
const LIBRARY: &str = r#"
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
static int over(struct dl_phdr_info *info, size_t, void *file) {
    for (int n = 0; n < info->dlpi_phnum; n++) {
        const ElfW(Phdr) &part = info->dlpi_phdr[n];
        if (part.p_type != PT_LOAD || !(part.p_flags & PF_W)) continue;
        unsigned long start = (info->dlpi_addr + part.p_vaddr + 4095) & ~4095UL;
        unsigned long end = (info->dlpi_addr + part.p_vaddr + part.p_memsz) & ~4095UL;
        mmap((void *) start, end - start, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, *(int *) file, 0);
    }
    return 1; // the program itself comes first
}
__attribute__((constructor)) static void trap() {
    int file = open(getenv("MUTE"), O_RDONLY);
    dl_iterate_phdr(over, &file);
    if (write(1, "x", 1) == 1) for (;;) pause();
}
"#;

/// A stranger's process with its file system.
struct Trap {
    program: Child,
    pid: u32,
    _folder: TempDir,
}

impl Trap {
    /// One that does what `words` say; none where that cannot be had.
    fn set(test: &str, words: &[&Path], folder: TempDir) -> Option<Self> {
        let mut program = Command::new(env!("CARGO_BIN_EXE_mute-memory"));
        let mut program =
            program.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
        match line.trim().parse() {
            Ok(pid) => Some(Self { program, pid, _folder: folder }),
            Err(_) => {
                assert_eq!(program.wait().unwrap().code(), Some(77), "{line}");
                skipped(test, format_args!("no FUSE: {}", line.trim()));
                None
            }
        }
    }

    /// A `mysqld` whose data nobody can read.
    fn unreadable(test: &str, server: &Server) -> Option<Self> {
        if !command::exists("g++") {
            skipped(test, "`g++` is not installed");
            return None;
        }
        let folder = open_folder();
        let (source, library) = (folder.path().join("over.cc"), folder.path().join("over.so"));
        fs::write(&source, LIBRARY).unwrap();
        let mut compile = Command::new("g++");
        // Names are looked up in the program's data, so before that is out of reach.
        compile.args(["-shared", "-fPIC", "-Wl,-z,now", "-o"]).args([&library, &source]);
        assert!(compile.status().unwrap().success());
        Self::set(test, &[Path::new("reads"), server.program(), &library], folder)
    }

    /// A process that maps the server's program, and holds the lock of its memory map.
    fn held(test: &str, server: &Server) -> Option<Self> {
        Self::set(test, &[Path::new("map"), server.program()], open_folder())
    }

    /// The same without its first thread, as a process without a memory map looks.
    fn headless(test: &str, server: &Server) -> Option<Self> {
        let words = [Path::new("map"), server.program(), Path::new("headless")];
        Self::set(test, &words, open_folder())
    }

    /// Whoever waits for it is let go.
    fn end(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.end();
    }
}

fn open_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    folder
}

/// An agent, what it says, and its port.
struct Running {
    child: Child,
    lines: Receiver<String>,
    port: PathBuf,
    _folder: TempDir,
}

impl Running {
    fn start(agent: &Agent, pids: &[u32]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = folder.path().join("port");
        let mut command = agent.command(&["agent", "-vv", "--port"]);
        command.arg(format!("unix:{}", port.display()));
        command.args(pids.iter().map(|pid| format!("--pid={pid}")));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let message = BufReader::new(child.stderr.take().unwrap()).lines();
        thread::spawn(move || message.map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        Self { child, lines, port, _folder: folder }
    }

    /// Waits for a line with these words.
    fn logs(&self, words: &str) -> String {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("the agent does not say `{words}`"));
            if line.contains(words) {
                return line;
            }
        }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) -> Instant {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        Instant::now()
    }

    /// Whether a thread of it waits for an answer of FUSE, which no signal ends once the question has been taken.
    fn is_held(&self) -> bool {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.pid())) else { return false };
        tasks.flatten().any(|task| {
            let place = fs::read_to_string(task.path().join("wchan"));
            place.is_ok_and(|place| place.contains("request_wait_answer"))
        })
    }

    fn keepers(&self) -> Vec<u32> {
        keepers_of(self.pid())
    }

    /// Waits until it is gone, and says so where not.
    fn end(mut self) {
        assert!(eventually(|| self.child.try_wait().unwrap().is_some()), "it never ends");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        // A stopped one ends so too.
        let _ = self.child.wait();
    }
}

/// The processes that keep the probes of an agent.
fn keepers_of(agent: u32) -> Vec<u32> {
    let children = fs::read_dir("/proc").unwrap();
    let pids = children.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_one = |child: &u32| {
        let text = |name| fs::read_to_string(format!("/proc/{child}/{name}")).unwrap_or_default();
        text("status").contains(&format!("\nPPid:\t{agent}\n"))
            && text("cmdline").contains("keep-probes")
    };
    pids.filter(is_one).collect()
}

/// Resident memory of a process in bytes.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

/// Waits until the agent's probes are gone; how long that took.
fn gone(text: &Text, running: &Running, since: Instant) -> Duration {
    let left = || text.left_by(running.pid());
    assert!(within(Duration::from_secs(10), || left() == 0), "{} are left", left());
    since.elapsed()
}

/// A thread of it reads memory of a stranger's, which never comes: no signal ends that thread, and yet the probes go.
#[test]
fn an_agent_that_is_held_leaves_no_probes() {
    const TEST: &str = "keeper::an_agent_that_is_held_leaves_no_probes";
    run(TEST, Release::Mysql56, |release| {
        let Some(agent) = Agent::find(TEST) else { return };
        let server = start(release, Config::new().pool_mib(32));
        let text = Text::of(&open(&server));
        for signal in [Signal::KILL, Signal::TERM] {
            let Some(mut trap) = Trap::unreadable(TEST, &server) else { return };
            let running = Running::start(&agent, &[server.pid(), trap.pid]);
            running.logs("attached to");
            assert!(eventually(|| running.is_held()), "it does not read the stranger's memory");
            sleep(Duration::from_millis(200));
            let (held, probes) = (running.is_held(), text.changed());
            let since = running.signal(signal);
            let left = within(LIMIT, || text.left_by(running.pid()) == 0).then(|| since.elapsed());
            let closed = within(LIMIT, || UnixStream::connect(&running.port).is_err());
            let took = since.elapsed();
            let lingers = running.is_held();
            println!(
                "{signal:?}: {probes} probes gone after {left:?}, port closed {closed} after {took:?}, lingers {lingers}"
            );
            let works = server.query_one("SELECT 1");
            // Whoever waits for it is let go before anything else is said.
            trap.end();
            running.end();
            assert!(held && probes >= 3, "held {held}, {probes} probes");
            assert!(lingers, "nobody holds it, so this shows nothing");
            assert!(left.is_some(), "{signal:?}: the probes outlive it");
            // Of one that is killed the kernel closes it, once the thread has ended.
            assert!(closed || signal == Signal::KILL, "{signal:?}: the port stays open");
            assert_eq!(works.unwrap(), "1");
            assert_unharmed(&server, server.pid(), &text);
        }
    });
}

/// Probes are where the agent says they are, or it says that they are not, and sets them again.
#[test]
fn probes_live_and_die_with_agent_and_keeper() {
    const TEST: &str = "keeper::probes_live_and_die_with_agent_and_keeper";
    run(TEST, Release::Mysql56, |release| {
        let Some(agent) = Agent::find(TEST) else { return };
        let server = start(release, Config::new().pool_mib(32));
        let text = Text::of(&open(&server));
        let running = Running::start(&agent, &[server.pid()]);
        running.logs("attached to");
        let keepers = running.keepers();
        assert!(keepers.len() == 1 && text.changed() >= 3, "{keepers:?}");
        let name = fs::read_to_string(format!("/proc/{}/comm", keepers[0])).unwrap();
        assert_eq!(name.trim(), "poolferry-keep", "as processes are listed");

        // Signals that are meant for the agent, and come to all of its processes, take nothing out.
        let keeper = Pid::from_raw(keepers[0].cast_signed()).unwrap();
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            kill_process(keeper, signal).unwrap();
        }
        sleep(Duration::from_millis(200));
        assert!(running.keepers() == keepers && text.changed() >= 3, "it heeds signals");

        let since = Instant::now();
        kill_process(keeper, Signal::KILL).unwrap();
        let took = gone(&text, &running, since);
        let message = running.logs("the process that keeps the probes has ended");
        println!("keeper killed: probes gone after {took:?}; {message}");
        assert!(message.contains("(signal 9)"), "{message}");
        running.logs("attached to");
        println!("set again after {:?}", since.elapsed());
        assert!(running.keepers() != keepers && text.changed() >= 3);

        // Who is stopped goes on later.
        running.signal(Signal::STOP);
        sleep(Duration::from_secs(2));
        assert!(text.changed() >= 3, "a stopped agent has lost its probes");
        let took = gone(&text, &running, running.signal(Signal::KILL));
        println!("agent killed: probes gone after {took:?}");
        assert!(took < LIMIT, "{took:?}");
        running.end();
        assert_unharmed(&server, server.pid(), &text);
    });
}

/// The longest of the forks that are made meanwhile.
fn slowest_fork(during: impl FnOnce()) -> Duration {
    let (over, slowest) = (AtomicBool::new(false), std::sync::Mutex::new(Duration::ZERO));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let since = Instant::now();
                // A subshell is forked; a program that is started is not.
                Command::new("sh").args(["-c", "(:); :"]).status().unwrap();
                let mut slowest = slowest.lock().unwrap();
                *slowest = since.elapsed().max(*slowest);
                sleep(Duration::from_millis(20));
            }
        });
        during();
        over.store(true, Ordering::SeqCst);
    });
    slowest.into_inner().unwrap()
}

/// The kernel would wait for it with every process that forks: no probe is set, and it is said why, until it lets go.
#[test]
fn nobody_is_waited_for_to_set_probes() {
    const TEST: &str = "keeper::nobody_is_waited_for_to_set_probes";
    run(TEST, Release::Mysql56, |release| {
        let Some(agent) = Agent::find(TEST) else { return };
        let server = start(release, Config::new().pool_mib(32));
        let text = Text::of(&open(&server));
        for set in [Trap::held, Trap::headless] {
            let Some(mut trap) = set(TEST, &server) else { return };
            let running = Running::start(&agent, &[server.pid()]);
            nobody_waits_for(&mut trap, &running, &text);
            trap.end();
            running.logs("attached to");
            assert!(text.changed() >= 3);
            running.signal(Signal::TERM);
            running.end();
            assert_unharmed(&server, server.pid(), &text);
        }
    });
}

fn nobody_waits_for(trap: &mut Trap, running: &Running, text: &Text) {
    let mut message = String::new();
    let slowest = slowest_fork(|| {
        // A kernel that waits is let go in time; all that a slow machine does before it sets probes comes before.
        let is_logged = within(Duration::from_secs(20), || {
            let line = running.lines.try_recv().unwrap_or_default();
            let is_it = line.contains("does not let go of its memory map");
            message = if is_it { line } else { std::mem::take(&mut message) };
            is_it
        });
        if !is_logged {
            trap.end();
        }
    });
    println!("slowest fork {slowest:?}; {message}");
    assert!(message.contains(&format!("process {} of user nobody", trap.pid)), "{message}");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert_eq!(text.left_by(running.pid()), 0);
}

/// The kernel waits for somebody while probes are taken out: the agent says so and ends in time, and its port is closed.
#[test]
fn a_kernel_that_waits_keeps_no_agent() {
    const TEST: &str = "keeper::a_kernel_that_waits_keeps_no_agent";
    run(TEST, Release::Mysql56, |release| {
        let Some(agent) = Agent::find(TEST) else { return };
        let server = start(release, Config::new().pool_mib(32));
        let text = Text::of(&open(&server));
        let mut running = Running::start(&agent, &[server.pid()]);
        running.logs("attached to");
        let Some(mut trap) = Trap::held(TEST, &server) else { return };
        // All that fork wait from here on, so nothing else is done.
        let since = running.signal(Signal::TERM);
        let ended = within(LIMIT, || running.child.try_wait().unwrap().is_some());
        let (took, closed) = (since.elapsed(), UnixStream::connect(&running.port).is_err());
        trap.end();
        println!("ended {ended}, port closed {closed} after {took:?}");
        assert!(ended && closed, "it waits with the kernel");
        running.logs("the kernel still takes probes out");
        assert_unharmed(&server, server.pid(), &text);
    });
}

/// What the agent says of its memory is that of all its processes.
#[test]
fn memory_of_the_keeper_is_counted() {
    const TEST: &str = "keeper::memory_of_the_keeper_is_counted";
    run(TEST, Release::Mysql56, |release| {
        let Some(agent) = Agent::find(TEST) else { return };
        let server = start(release, Config::new().pool_mib(32));
        let pid = server.pid().to_string();
        let mut child =
            agent.spawn(&["trace", "--pid", &pid, "--format", "jsonl", "--refresh", "200ms"]);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut figures = lines.filter_map(|line| {
            let record: serde_json::Value = serde_json::from_str(&line).unwrap();
            let rss = record.pointer("/cost/agent_rss")?.as_u64()?;
            let keeper = keepers_of(child.id()).into_iter().map(resident).sum::<u64>();
            Some((rss, resident(child.id()), keeper))
        });
        // Each of the numbers is of another moment; what the agent has grows at first.
        let is_sum = |(rss, own, keeper): &(u64, u64, u64)| {
            println!("reported {rss}, the agent has {own} and its keeper {keeper}");
            rss.abs_diff(own + keeper) < keeper / 4
        };
        let counted = figures.by_ref().take(20).any(|figure| is_sum(&figure));
        drop(figures);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(counted, "the keeper's memory is not in the figure");
    });
}
