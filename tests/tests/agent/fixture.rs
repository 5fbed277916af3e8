//! A server, an agent on it, and a client.

use std::env;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use page_wire::protocol::{ServerState, Status};
use qemu_glue::agent::Agent;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use test_servers::{Config, Dataset, Release, Server, skipped};
use tokio::runtime::Runtime;

/// About 40 MiB of tables, prepared once.
pub(crate) const DATA: Dataset = Dataset { tables: 4, rows: 40_000 };
/// How long a list may take here.
pub(crate) const LIST_WITHIN: Duration = Duration::from_secs(60);
/// As much RAM as a host could say: what bounds a list has tests of its own.
pub(crate) const RAM_BYTES: u64 = 1 << 40;
/// How long anything is waited for that is known to come.
const LIMIT: Duration = Duration::from_secs(90);

/// What a test needs, while it is its turn.
pub(crate) struct Fixture {
    pub(crate) runtime: Runtime,
    program: PathBuf,
    folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Fixture {
    /// Waits for its turn; says so where test `test` cannot run.
    pub(crate) fn set(test: &str) -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        // A test that failed leaves nothing behind that the next would trip over.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        if !rustix::process::geteuid().is_root() {
            skipped(test, "probes and other processes' memory want root");
            return None;
        }
        if let Err(error) = Release::Mysql56.installed() {
            skipped(test, error);
            return None;
        }
        let Some(program) = program() else {
            skipped(test, "the program is not built (`cargo build -p userspace --bins`)");
            return None;
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        Some(Self { runtime, program, folder, _turn: turn })
    }

    /// Where the agent listens.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("port")
    }

    /// Starts an agent with more arguments.
    pub(crate) fn agent(&self, arguments: &[&str]) -> Process {
        let port = format!("unix:{}", self.path().display());
        let mut command = Command::new(&self.program);
        command.args(["agent", "--port", &port]).args(arguments).stdin(Stdio::null());
        let process = Process(command.spawn().unwrap());
        // One that was killed leaves its socket behind, so ask.
        let listens = || UnixStream::connect(self.path()).is_ok();
        assert!(eventually(listens), "the agent does not listen");
        process
    }

    /// What `poolferry` writes with these arguments.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new(&self.program).args(arguments).stdin(Stdio::null()).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    /// Starts an agent on one server.
    pub(crate) fn agent_on(&self, server: &Server) -> Process {
        self.agent(&["--pid", &server.pid().to_string()])
    }

    /// Connects to the agent.
    pub(crate) fn connect(&self) -> Agent {
        self.runtime.block_on(Agent::connect(&self.path())).unwrap()
    }

    /// A client of an agent that has set its probes.
    pub(crate) fn attached(&self) -> Agent {
        let mut agent = self.connect();
        assert!(
            eventually(|| matches!(self.status(&mut agent).server, ServerState::Attached { .. })),
            "the agent does not attach: {:?}",
            self.status(&mut agent).server
        );
        agent
    }

    pub(crate) fn status(&self, agent: &mut Agent) -> Status {
        self.runtime.block_on(agent.status()).unwrap()
    }
}

/// `poolferry` where `POOLFERRY_BIN` says, else beside the folder of this test's program.
fn program() -> Option<PathBuf> {
    let beside = || {
        let own = env::current_exe().ok()?;
        Some(own.parent()?.parent()?.join("poolferry"))
    };
    let program = env::var_os("POOLFERRY_BIN").map(PathBuf::from).or_else(beside)?;
    program.is_file().then_some(program)
}

/// A process that ends with its test.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Ends it as a service manager does; whether it ended well.
    pub(crate) fn terminate(mut self) -> bool {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, Signal::TERM).unwrap();
        self.0.wait().unwrap().success()
    }

    /// Ends it as the kernel does when memory is short.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server of MySQL 5.6.24 whose whole data set is resident and clean.
pub(crate) fn warm() -> Server {
    warmed(Release::Mysql56, Config::new().pool_mib(128).sysbench(DATA))
}

/// A server whose data set, as far as its pool holds it, is resident and clean.
pub(crate) fn warmed(release: Release, config: Config) -> Server {
    let server = Server::start(release, config).unwrap_or_else(|error| panic!("{error:#}"));
    for table in 1..=DATA.tables {
        server.query(&format!("SELECT SUM(LENGTH(c)) FROM sbtest.sbtest{table}")).unwrap();
    }
    settle(&server);
    server
}

/// Waits until nothing is dirty and nothing is being changed.
pub(crate) fn settle(server: &Server) {
    server.query("SET GLOBAL innodb_max_dirty_pages_pct=0").unwrap();
    let mut clean = 0;
    let clean_for_a_while = || {
        let rows = server.query("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'");
        clean = if rows.unwrap()[0][1] == "0" { clean + 1 } else { 0 };
        clean == 5
    };
    assert!(eventually(clean_for_a_while), "the pool does not become clean");
}

/// Asks until `condition` holds, but not for ever; says whether it does.
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let since = Instant::now();
    while !condition() {
        if since.elapsed() > LIMIT {
            return false;
        }
        sleep(Duration::from_millis(50));
    }
    true
}

/// Whether any server runs that `poolferry` would find by itself.
pub(crate) fn other_servers() -> bool {
    let names = userspace::target::SERVER_NAMES.map(str::to_owned);
    !userspace::target::Target::all(&names).is_empty()
}
