//! `cargo xtask run`: attach to the server that runs, or to a private demo server.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use test_servers::{Config, Dataset, Load, LoadSpec, Release, Script, Server};

use crate::ebpf;
use crate::running::{self, Running};
use crate::setup::{self, Consent};
use crate::workspace;

/// Pool of the demo server, in MiB.
const POOL_MIB: u64 = 512;
/// About 700 MB: the pool fills, and pages are evicted.
const DATA: Dataset = Dataset { tables: 4, rows: 750_000 };
/// Transactions per second: enough to see the pool live, and most of the machine left.
const RATE: u32 = 100;

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Start a private server even if one runs here: mysql56, mysql97, mariadb or mariadb-security
    #[arg(long, value_name = "SERVER")]
    demo: Option<Release>,
    /// Options for `poolferry trace`, such as `--pid 42`, `--format jsonl` or `--duration 10s`;
    /// `--yes` installs what is missing without asking
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Sets up, builds, and attaches.
pub(crate) fn perform(arguments: Arguments) -> Result<ExitCode> {
    let yes = arguments.arguments.iter().any(|argument| argument == "--yes");
    let mut passed = arguments.arguments;
    passed.retain(|argument| argument != "--yes");
    // It may stand behind the options of `poolferry trace` too.
    let chosen = take_demo(arguments.demo, &mut passed)?;
    let names_one = names_a_server(&passed);
    ensure!(
        chosen.is_none() || !names_one,
        "`--demo` starts a private server, and another option names the server to observe: leave one of them out"
    );
    let consent = Consent::new(yes);

    setup::for_build(consent)?;
    ebpf::build()?;
    let release = workspace::build_release_of(&["--package", "userspace", "--bin", "poolferry"])?;
    let program = release.join("poolferry");
    let demo = match chosen {
        Some(release) => Some(release),
        None if !names_one && is_demo_wanted(&program)? => {
            eprintln!("no database server that can be observed runs here");
            Some(Release::Mysql56)
        }
        None => None,
    };
    let mut agent = as_root(&program, "trace");
    match demo {
        Some(release) => {
            setup::for_demo(release, consent)?;
            with_demo_server(release, agent.args(passed))
        }
        None => {
            let error = agent.args(passed).exec();
            Err(error).context("failed to start `poolferry`")
        }
    }
}

/// Takes `--demo SERVER` out of the options, wherever it stands; `found` is what stood before them.
fn take_demo(mut found: Option<Release>, arguments: &mut Vec<OsString>) -> Result<Option<Release>> {
    const OPTION: &str = "--demo";
    let mut others = Vec::with_capacity(arguments.len());
    let mut words = std::mem::take(arguments).into_iter();
    while let Some(word) = words.next() {
        let text = word.to_str().and_then(|word| word.strip_prefix(OPTION));
        let name = match text {
            Some("") => words.next().context("`--demo` wants the name of a server")?,
            Some(rest) if rest.starts_with('=') => OsString::from(&rest[1..]),
            _ => {
                others.push(word);
                continue;
            }
        };
        let release = name.to_string_lossy().parse()?;
        ensure!(found.replace(release).is_none(), "`--demo` stands there twice");
    }
    *arguments = others;
    Ok(found)
}

/// A command of `poolferry`, as root.
pub(crate) fn as_root(program: &Path, command: &str) -> Command {
    let mut poolferry = if rustix::process::geteuid().is_root() {
        Command::new(program)
    } else {
        eprintln!("looking into a server wants root: starting `poolferry {command}` through sudo");
        let mut sudo = Command::new("sudo");
        sudo.arg(program);
        sudo
    };
    poolferry.arg(command);
    poolferry
}

/// Whether no server runs here that could be observed; says of those that are called so why they cannot.
fn is_demo_wanted(program: &Path) -> Result<bool> {
    let Running::None(reasons) = running::examine(&mut as_root(program, "doctor"))? else {
        return Ok(false);
    };
    if !reasons.is_empty() {
        eprintln!(
            "what is called like a database server here cannot be observed (`poolferry doctor` shows more):"
        );
        reasons.iter().for_each(|reason| eprintln!("  {reason}"));
    }
    Ok(true)
}

/// Whether the options choose a server, so that none has to be looked for.
fn names_a_server(arguments: &[OsString]) -> bool {
    let is = |argument: &str, name: &str| {
        argument == name || argument.strip_prefix(name).is_some_and(|rest| rest.starts_with('='))
    };
    let mut words = arguments.iter().filter_map(|argument| argument.to_str());
    let names = ["--pid", "--name", "--datadir", "--user", "--unit"];
    words.any(|word| names.iter().any(|name| is(word, name)) || word == "--help" || word == "-h")
}

/// Runs `agent` on a private server under load; leaves neither processes nor files, however it ends.
fn with_demo_server(release: Release, agent: &mut Command) -> Result<ExitCode> {
    eprintln!(
        "starting a private {release} with a pool of {POOL_MIB} MiB under a sysbench read-write load (the first time, its \
         tables are made: a minute)"
    );
    // Until here an interrupt ends this program, and the server's watchdog cleans up.
    let demo = Demo::start(release)?;
    let should_end = Arc::new(AtomicBool::new(false));
    flag::register(SIGTERM, Arc::clone(&should_end))?;
    flag::register(SIGHUP, Arc::clone(&should_end))?;
    // The terminal's Ctrl-C reaches the agent by itself; here it must only not end us before the agent.
    flag::register(SIGINT, Arc::default())?;
    let mut child = agent
        .args(["--pid", &demo.pid().to_string()])
        .spawn()
        .context("failed to start `poolferry`")?;
    let status = wait(&mut child, &should_end);
    drop(demo);
    status
}

/// A private server under load. It ends with this, the load before the server.
pub(crate) struct Demo {
    _load: Load,
    server: Server,
}

impl Demo {
    /// Starts it, and waits until the load runs.
    pub(crate) fn start(release: Release) -> Result<Self> {
        let server = Server::start(release, Config::new().pool_mib(POOL_MIB).sysbench(DATA))?;
        let mut load = server.load(&LoadSpec::new(Script::ReadWrite, 2).rate(RATE).uniform())?;
        load.wait_for_seconds(1)?;
        Ok(Self { _load: load, server })
    }

    /// Process id of the server.
    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }
}

/// Waits for the agent, and hands on to it, once, that it is to end.
fn wait(child: &mut Child, should_end: &AtomicBool) -> Result<ExitCode> {
    loop {
        if let Some(status) = child.try_wait()? {
            let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
            return Ok(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)));
        }
        if should_end.swap(false, Ordering::Relaxed)
            && let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, Signal::TERM);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use test_servers::Release;

    use super::{names_a_server, take_demo};

    #[test]
    fn the_demo_may_be_any_server_that_the_tests_have() {
        let take = |words: &[&str]| {
            let mut words: Vec<OsString> = words.iter().map(Into::into).collect();
            let found = take_demo(None, &mut words).map_err(|error| error.to_string());
            let rest: Vec<String> =
                words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            found.map(|found| (found, rest.join(" ")))
        };
        for release in Release::ALL {
            let joined = format!("--demo={}", release.name());
            let format = "--format jsonl".to_owned();
            let taken = Ok((Some(release), format));
            assert_eq!(take(&["--demo", release.name(), "--format", "jsonl"]), taken);
            assert_eq!(take(&["--format", "jsonl", &joined]), taken);
        }
        assert_eq!(take(&["--pid", "4"]), Ok((None, "--pid 4".to_owned())));
        assert_eq!(take(&["--demonstrate"]), Ok((None, "--demonstrate".to_owned())));
        for (wrong, expected) in [
            (&["--demo"][..], "wants the name"),
            (&["--demo", "oracle"], "no server is called `oracle`: write one of mysql56"),
            (&["--demo="], "no server is called ``"),
            (&["--demo", "mariadb", "--demo", "mysql56"], "twice"),
        ] {
            let error = take(wrong).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn options_that_choose_a_server_are_seen() {
        let named =
            |words: &[&str]| names_a_server(&words.iter().map(Into::into).collect::<Vec<_>>());
        assert!(named(&["--format", "jsonl", "--pid", "42"]) && named(&["--name=mysqld"]));
        assert!(named(&["--unit", "mysql"]) && named(&["--datadir=/d"]) && named(&["--user=110"]));
        assert!(!named(&["--format", "jsonl"]) && !named(&["--pids"]));
    }
}
