//! The source's program killed, as by `kill -9`: its memory of the migration is gone at once.

use std::env;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use qemu_glue::channel::{self, Message, Security};
use qemu_glue::source::{self, MigrationMode, Options, Route, Watchdog, cancellation};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::agent;
use crate::fixture::{Fixture, SERIAL, Setting, honest};
use crate::guest::PAGES;
use crate::lab::{Lab, on_each_qemu, wait_for};

on_each_qemu!(killed_while_restoring, killed_before_the_migration, watched);

/// Variables with the orders to the process that is to be killed.
const VARIABLES: [&str; 3] = ["POOLFERRY_TEST_QMP", "POOLFERRY_TEST_AGENT", "POOLFERRY_TEST_TO"];

/// The process that the tests kill: this test, in another process.
#[test]
#[ignore = "the process that other tests start and kill"]
fn process() {
    let [Some(qmp), Some(agent), Some(to)] = VARIABLES.map(|name| env::var(name).ok()) else {
        return;
    };
    let options = Options {
        qmp: qmp.into(),
        mode: MigrationMode::Poolferry(Route {
            agent: agent.into(),
            to,
            uri: None,
            security: Security::Plain,
            share: false,
            multifd: None,
            // Longer than any test: it gives up when it is killed, and not before.
            list_timeout: Duration::from_secs(300),
            silence: Duration::from_secs(300),
        }),
        max_bandwidth: None,
        downtime_limit_ms: None,
        timeout: None,
        probes: false,
        leave_paused: true,
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_canceller, cancel) = cancellation();
    let report = runtime.block_on(source::migrate(&options, cancel, &mut |_| {}));
    panic!("it was to be killed, and ended: {report:?}");
}

pub(crate) struct Driver(Child);

impl Driver {
    pub(crate) fn start(options: &Options, to: &str) -> Self {
        let MigrationMode::Poolferry(route) = &options.mode else {
            unreachable!("the way of the fixture")
        };
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "driver::process", "--ignored", "--nocapture"]);
        command
            .env(VARIABLES[0], &options.qmp)
            .env(VARIABLES[1], &route.agent)
            .env(VARIABLES[2], to);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }

    pub(crate) fn kill(&mut self) {
        assert!(self.0.try_wait().unwrap().is_none(), "it ended by itself");
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Stands between the driver and the receiver. The driver learns that the receiver is ready, and nothing after that: however
/// fast the receiver is, the driver throttles the migration until it is killed.
pub(crate) struct Relay {
    pub(crate) address: String,
    installed: Arc<AtomicBool>,
}

impl Relay {
    pub(crate) async fn start(to: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let installed = Arc::new(AtomicBool::new(false));
        let has_installed = Arc::clone(&installed);
        tokio::spawn(async move {
            let (driver, _) = listener.accept().await.unwrap();
            let (mut to_driver, mut from_driver) =
                channel::accept(driver, &Security::Plain).await.unwrap();
            let receiver = TcpStream::connect(to).await.unwrap();
            let (mut to_receiver, mut from_receiver) =
                channel::connect(receiver, &Security::Plain).await.unwrap();
            let requests = async {
                while let Ok(message) = from_driver.receive().await {
                    if to_receiver.send(&message).await.is_err() {
                        return;
                    }
                }
            };
            let answers = async {
                while let Ok(message) = from_receiver.receive().await {
                    match message {
                        Message::Hello(_) | Message::Ready(_) => {
                            let _ = to_driver.send(&message).await;
                        }
                        Message::Installed(_) => has_installed.store(true, Ordering::Relaxed),
                        _ => {}
                    }
                }
            };
            // The end of either is the end of both, as of a connection.
            tokio::select! {
                () = requests => {}
                () = answers => {}
            }
        });
        Self { address, installed }
    }

    /// Waits until the receiver has installed pages.
    async fn installs(&self) {
        wait_for("pages are installed", async || self.installed.load(Ordering::Relaxed)).await;
    }
}

/// Waits until the driver has sent QEMU `migrate`. It has set the parameters of a throttled migration before that, and
/// behind a [`Relay`] they stay.
pub(crate) async fn is_held(fixture: &Fixture<'_>) {
    wait_for("the migration is active", async || {
        let now = fixture.source.execute("query-migrate", json!({})).await;
        now["status"] == "active"
    })
    .await;
}

/// Nobody drives the migration any more: it is throttled, the VM runs on; the next one ends it and works.
async fn killed_while_restoring(lab: &Lab) {
    let mut fixture = Fixture::new(lab, Setting::default()).await;
    let (address, receiver) = fixture.receiver().await;
    let relay = Relay::start(address.clone()).await;
    let mut driver = Driver::start(&fixture.options(address), &relay.address);
    is_held(&fixture).await;
    relay.installs().await;
    driver.kill();
    let outcome = receiver.await.unwrap();
    assert!(outcome.is_err(), "{outcome:?}");
    sleep(Duration::from_secs(1)).await;
    let now = fixture.source.execute("query-migrate", json!({})).await;
    assert_eq!(now["status"], "active");
    fixture.assert_runs_on().await;
    fixture.new_destination().await;
    let report = fixture.migrate().await;
    fixture.assert_identical(&report).await;
    assert_eq!(report.pages.installed, PAGES);
}

/// The list is requested, and its requester is gone.
async fn killed_before_the_migration(lab: &Lab) {
    let mut fixture = Fixture::new(lab, Setting::default()).await;
    let (address, receiver) = fixture.receiver().await;
    let is_requested = fixture.silent_agent();
    let mut driver = Driver::start(&fixture.options(address), "127.0.0.1:1");
    wait_for("the list is asked for", async || is_requested.load(Ordering::Relaxed)).await;
    driver.kill();
    receiver.abort();
    fixture.list(&agent::list(SERIAL, honest()));
    fixture.assert_runs_on().await;
    let report = fixture.migrate().await;
    fixture.assert_identical(&report).await;
    assert_eq!(report.pages.installed, PAGES);
}

/// The watchdog of a driver that was killed finds the user's limits in the library's memory; that of another driver leaves them.
async fn watched(lab: &Lab) {
    let fixture = Fixture::new(lab, Setting::default()).await;
    let set = json!({ "max-bandwidth": 7_000_001, "downtime-limit": 1 });
    fixture.source.set_parameters(set).await;
    let bandwidth = async || {
        let now = fixture.source.execute("query-migrate-parameters", json!({})).await;
        now["max-bandwidth"].as_u64().unwrap()
    };
    let (address, receiver) = fixture.receiver().await;
    let options = fixture.options(address.clone());
    let qmp = &options.qmp;
    let relay = Relay::start(address).await;
    let mut driver = Driver::start(&options, &relay.address);
    is_held(&fixture).await;
    assert_ne!(bandwidth().await, 7_000_001, "it is not throttled");
    driver.kill();
    receiver.abort();
    let other = Watchdog::new(qmp, std::process::id()).await.unwrap();
    assert!(!other.stand_by(qmp, &b""[..]).await.unwrap());
    assert_ne!(bandwidth().await, 7_000_001, "they are another's");
    let watchdog = Watchdog::new(qmp, driver.0.id()).await.unwrap();
    assert!(watchdog.stand_by(qmp, &b""[..]).await.unwrap());
    assert_eq!(bandwidth().await, 7_000_001);
    assert!(!watchdog.stand_by(qmp, &b""[..]).await.unwrap(), "there is nothing left to put back");
}
