//! Nobody reads what `poolferry-host` writes: deadline and signals hold, and QEMU has the user's limits at the end.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use test_qemus::QemuRelease;
use test_servers::skipped;
use tokio::time::sleep;

use crate::agent;
use crate::fixture::{Fixture, SERIAL, Setting, honest};
use crate::guest::PAGES;
use crate::lab::{self, Lab, wait_for};
use crate::stall::{Kind, LIMIT, Stalled, catches_signals, is_stopped_by_its_reader};

/// The user's own.
const BANDWIDTH: u64 = 7_000_000;
const DOWNTIME_MS: u64 = 222;

/// `poolferry-host`, as it was built beside this test.
fn program() -> Option<PathBuf> {
    let agent = env::var_os("POOLFERRY_BIN").map(PathBuf::from).or_else(|| {
        let own = env::current_exe().ok()?;
        Some(own.parent()?.parent()?.join("poolferry"))
    })?;
    Some(agent.with_file_name("poolferry-host")).filter(|path| path.is_file())
}

struct Program {
    child: Child,
    _stalled: Option<Stalled>,
}

impl Program {
    /// One whose output nobody keeps, so that it is never kept waiting.
    fn unread(program: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap(), _stalled: None }
    }

    fn start(program: &Path, arguments: &[&str], kind: Kind) -> Self {
        let stalled = Stalled::new(kind);
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped());
        command.stdout(stalled.output()).stderr(stalled.output());
        Self { child: command.spawn().unwrap(), _stalled: Some(stalled) }
    }

    /// When it ended after a moment; longer than `limit` is reported, and ends it.
    async fn ended(&mut self, since: Instant, limit: Duration) -> Result<Duration, String> {
        loop {
            if self.child.try_wait().unwrap().is_some() {
                return Ok(since.elapsed());
            }
            if since.elapsed() > limit + Duration::from_secs(5) {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                return Err(format!("not within {:.1?}", since.elapsed()));
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn signalled(&mut self, signal: Signal) -> Result<Duration, String> {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.ended(Instant::now(), LIMIT).await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether it was in time; printed either way.
fn in_time(what: &str, took: Result<Duration, String>, limit: Duration, late: &mut Vec<String>) {
    println!("{what}: {took:?}");
    if !took.as_ref().is_ok_and(|took| *took < limit) {
        late.push(format!("{what}: {took:?}"));
    }
}

/// A migration that would take minutes: storage has nothing right, and the link is slow.
async fn slow(lab: &Lab) -> Fixture<'_> {
    let fixture = Fixture::new(lab, Setting::default()).await;
    fixture.spoil(0, PAGES / 4);
    let own = json!({ "max-bandwidth": BANDWIDTH, "downtime-limit": DOWNTIME_MS });
    fixture.source.set_parameters(own).await;
    fixture
}

/// How long a migration whose output is taken needs to end at a signal: on a busy machine that is more than nothing.
async fn ends_unstalled(
    program: &Path,
    qmp: &str,
    agent: &str,
    fixture: &mut Fixture<'_>,
) -> Duration {
    let (to, _receiver) = fixture.receiver().await;
    let mut arguments = vec!["migrate", "--qmp", qmp, "--agent", agent, "--to", &to];
    arguments.extend(["--plain", "--leave-paused", "--max-bandwidth", "200000"]);
    let mut migrate = Program::unread(program, &arguments);
    sleep(Duration::from_secs(4)).await;
    assert!(catches_signals(&migrate.child), "too early");
    let took = migrate.signalled(Signal::TERM).await.unwrap();
    println!("where it is read: {took:?}");
    took
}

#[test]
fn migrate_heeds_its_deadline_and_every_signal() {
    const TEST: &str = "stalled::migrate_heeds_its_deadline_and_every_signal";
    lab::run(TEST, QemuRelease::Q100, async |lab| {
        let Some(program) = program() else {
            return skipped(TEST, "poolferry-host is not built (`cargo build --workspace --bins`)");
        };
        let mut fixture = slow(&lab).await;
        let qmp = lab.folder().join("source.2.qmp").display().to_string();
        let agent = lab.folder().join("agent").display().to_string();
        let cases = [
            ("jsonl", Kind::Pipe, Signal::TERM),
            ("text", Kind::Terminal, Signal::INT),
            ("text", Kind::Pipe, Signal::HUP),
            ("jsonl", Kind::Pipe, Signal::ALARM),
        ];
        let (mut late, mut limit) = (Vec::new(), LIMIT);
        for (format, kind, signal) in cases {
            // In place of a signal, its own deadline.
            let deadline = signal == Signal::ALARM;
            let (to, _receiver) = fixture.receiver().await;
            let mut arguments = vec!["migrate", "--qmp", &qmp, "--agent", &agent, "--to", &to];
            arguments.extend(["--plain", "--leave-paused", "--max-bandwidth", "200000", "-vv"]);
            arguments.extend(["--format", format]);
            arguments.extend(deadline.then_some(["--timeout", "4"]).into_iter().flatten());
            let begun = Instant::now();
            let mut migrate = Program::start(&program, &arguments, kind);
            wait_for("it writes, and nobody reads", async || {
                let ended = migrate.child.try_wait().unwrap();
                assert!(ended.is_none(), "it ended: {ended:?}");
                is_stopped_by_its_reader(&migrate.child)
            })
            .await;
            sleep(Duration::from_secs(2)).await;
            let what = format!("migrate --format {format} to a {kind:?}, {signal:?}");
            if deadline {
                let took = migrate.ended(begun, LIMIT + Duration::from_secs(6)).await;
                in_time(&what, took, LIMIT + Duration::from_secs(6), &mut late);
            } else {
                assert!(catches_signals(&migrate.child), "{what}: too early");
                let took = migrate.signalled(signal).await;
                if limit == LIMIT && !took.as_ref().is_ok_and(|took| *took < LIMIT) {
                    fixture.assert_runs_on().await;
                    fixture.new_destination().await;
                    limit += 2 * ends_unstalled(&program, &qmp, &agent, &mut fixture).await;
                }
                in_time(&what, took, limit, &mut late);
            }
            let now = fixture.source.execute("query-migrate-parameters", json!({})).await;
            let now = (now["max-bandwidth"].as_u64(), now["downtime-limit"].as_u64());
            if now != (Some(BANDWIDTH), Some(DOWNTIME_MS)) {
                late.push(format!("{what}: QEMU is left with {now:?}"));
            }
            fixture.assert_runs_on().await;
            fixture.source.execute("migrate_cancel", json!({})).await;
            fixture.new_destination().await;
        }
        assert!(late.is_empty(), "late or not put back:\n{}", late.join("\n"));
    });
}

#[test]
fn every_signal_ends_the_others() {
    const TEST: &str = "stalled::every_signal_ends_the_others";
    lab::run(TEST, QemuRelease::Q100, async |lab| {
        let Some(program) = program() else {
            return skipped(TEST, "poolferry-host is not built (`cargo build --workspace --bins`)");
        };
        let fixture = slow(&lab).await;
        let folder = lab.folder().display().to_string();
        let list = format!("{folder}/list.bin");
        std::fs::write(&list, agent::list(SERIAL, honest())).unwrap();
        let cases = [
            "receive --qmp {folder}/destination.2.qmp --listen 127.0.0.1:0 \
             --migration-address 127.0.0.1 --plain",
            "receive --qmp {folder}/destination.2.qmp --listen 127.0.0.1:0 \
             --migration-address 127.0.0.1 --plain --format jsonl",
            "doctor --qmp {folder}/source.2.qmp",
            "watchdog --qmp {folder}/source.2.qmp",
            "list {folder}/list.bin --format jsonl",
            "report --schema",
        ];
        let mut late = Vec::new();
        for case in cases {
            let line = case.replace("{folder}", &folder);
            let arguments: Vec<&str> = line.split_whitespace().collect();
            for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
                let mut one = Program::start(&program, &arguments, Kind::Pipe);
                wait_for("it writes, and nobody reads", async || {
                    let ended = one.child.try_wait().unwrap();
                    assert!(ended.is_none(), "`{line}` ended: {ended:?}");
                    is_stopped_by_its_reader(&one.child)
                })
                .await;
                let what = format!("{} {signal:?}", arguments[0]);
                in_time(&what, one.signalled(signal).await, LIMIT, &mut late);
            }
        }
        drop(fixture);
        assert!(late.is_empty(), "slower than {LIMIT:?}:\n{}", late.join("\n"));
    });
}
