//! Each part failing in each phase.

use std::time::Duration;

use migration_record::{MigrationStatus, Report};
use page_wire::Run;
use qemu_glue::channel::{
    self, Message, NotInstalled, PeerHello, Progress, Ready, Receiver, Security, Sender, SetRange,
    VERSION,
};
use qemu_glue::multifd::Multifd;
use qemu_glue::source::{self, MigrateError, MigrationMode, Options, Route, Update, cancellation};
use serde_json::json;
use test_qemus::QemuRelease;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::agent;
use crate::fixture::{Fixture, SERIAL, Setting, honest};
use crate::guest::{FIRST_PAGE, PAGES};
use crate::lab::{self, Lab, on_each_qemu};

on_each_qemu!(
    agent_missing,
    library_missing,
    list_that_lies,
    empty_list,
    storage_stale,
    storage_gone,
    receiver_missing,
    receiver_missing_and_the_uri_known,
    receiver_only_chats,
    receiver_dies_before_the_migration,
    receiver_dies_before_the_hint,
    receiver_dies_at_the_hint,
    receiver_dies_while_restoring,
    receiver_with_another_aim,
    destination_dies,
    cancelled,
    postcopy_on,
);

/// Slow enough that there is time to interfere.
fn slow() -> Setting {
    Setting { bandwidth: Some(8 << 20), ..Setting::default() }
}

fn assert_warns(report: &Report, text: &str) {
    let found = report.warnings.iter().any(|warning| warning.contains(text));
    assert!(found, "no `{text}` in {:#?}", report.warnings);
}

async fn agent_missing(lab: &Lab) {
    let mut fixture = Fixture::new(lab, Setting::default()).await;
    fixture.no_agent();
    let report = fixture.migrate().await;
    fixture.assert_identical(&report).await;
    assert_eq!(report.pages.skipped, 0);
    assert_warns(&report, "the whole memory goes by network");
}

async fn library_missing(lab: &Lab) {
    let fixture = Fixture::new(lab, Setting { no_library: true, ..Setting::default() }).await;
    let report = fixture.migrate().await;
    fixture.assert_identical(&report).await;
    assert_eq!(report.pages.skipped, 0);
    assert_warns(&report, "has not loaded libpoolferry_qemu.so");
}

/// Overlaps, addresses outside RAM and below 1 MiB, wrong places, and the same page over and over.
async fn list_that_lies(lab: &Lab) {
    let mut fixture = Fixture::new(lab, Setting::default()).await;
    let run = |gfn, frames, unit| Run::new(gfn, frames, 0, unit).unwrap();
    let mut runs = honest();
    runs.truncate(1000);
    runs.extend([
        run(0, 1 << 24, 131_000),
        run((1 << 40) - 1, 7, 16),
        run(FIRST_PAGE + 3, 9, 24),
        run(100, 10, 32),
        run(FIRST_PAGE + 4000, 100, 1 << 40),
    ]);
    runs.extend((0..5000).map(|unit| run(FIRST_PAGE + 8000, 64, 40 + unit)));
    fixture.list(&agent::list(SERIAL, runs));
    let report = fixture.migrate().await;
    fixture.assert_identical(&report).await;
    assert!(report.pages.skipped > 0 && report.pages.installed > 0, "{:?}", report.pages);
}

async fn empty_list(lab: &Lab) {
    let mut fixture = Fixture::new(lab, Setting::default()).await;
    fixture.list(&agent::list(SERIAL, Vec::new()));
    let report = fixture.migrate().await;
    fixture.assert_identical(&report).await;
    assert_warns(&report, "it is empty");
}

async fn storage_stale(lab: &Lab) {
    let fixture = Fixture::new(lab, Setting::default()).await;
    fixture.spoil(0, PAGES / 4);
    let report = fixture.migrate().await;
    fixture.assert_identical(&report).await;
    assert_eq!(report.redirtied_by_reason.get("differs"), Some(&PAGES));
}

/// The disk ends before most of its pages.
async fn storage_gone(lab: &Lab) {
    let fixture = Fixture::new(lab, Setting::default()).await;
    let file = std::fs::File::options().write(true).open(&fixture.disk).unwrap();
    file.set_len(1 << 20).unwrap();
    let report = fixture.migrate().await;
    fixture.assert_identical(&report).await;
    assert!(report.pages.installed <= 256, "{:?}", report.pages);
}

async fn receiver_missing(lab: &Lab) {
    let fixture = Fixture::new(lab, Setting::default()).await;
    let (_canceller, cancel) = cancellation();
    let address = "127.0.0.1:1".to_owned();
    let error = fixture.migrate_to(address, cancel, &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, MigrateError::Connect { .. }) && error.hint().is_some(), "{error}");
    fixture.assert_runs_on().await;
    let report = fixture.migrate().await;
    fixture.assert_identical(&report).await;
    assert_eq!(report.pages.installed, PAGES);
}

/// Lets the destination's QEMU listen without a receiver; gives where.
pub(crate) async fn listening(fixture: &Fixture<'_>) -> String {
    let uri = json!({ "uri": "tcp:127.0.0.1:0" });
    fixture.destination.execute("migrate-incoming", uri).await;
    let events = fixture.destination.execute("query-migrate", json!({})).await;
    format!("tcp:127.0.0.1:{}", events["socket-address"][0]["port"].as_str().unwrap())
}

fn route(options: &mut Options) -> &mut Route {
    match &mut options.mode {
        MigrationMode::Poolferry(route) => route,
        MigrationMode::Stock { .. } => unreachable!("the way of the fixture"),
    }
}

/// The whole memory goes to where the user says that QEMU listens, with QEMU's settings as it had them.
async fn receiver_missing_and_the_uri_known(lab: &Lab) {
    let fixture = Fixture::new(lab, Setting::default()).await;
    let mut options = fixture.options("127.0.0.1:1".to_owned());
    let route = route(&mut options);
    route.uri = Some(listening(&fixture).await);
    // What nobody can set at the destination now.
    route.multifd = Some(Multifd { channels: 4, compression: "zlib".to_owned() });
    let (_canceller, cancel) = cancellation();
    let report = source::migrate(&options, cancel, &mut |_| {}).await.unwrap();
    fixture.assert_identical(&report).await;
    assert_eq!(report.pages.skipped, 0);
    assert_warns(&report, "the whole memory goes by network: failed to reach");
}

/// Takes the offer of a source that connects, and says that QEMU listens at `uri`.
pub(crate) async fn agrees(listener: TcpListener, uri: String) -> (Sender, Receiver) {
    let (stream, _) = listener.accept().await.unwrap();
    let (mut sender, mut receiver) = channel::accept(stream, &Security::Plain).await.unwrap();
    let hello = PeerHello {
        version: VERSION,
        program: "test".into(),
        qemu: "0.0.0".into(),
        migration: Default::default(),
    };
    sender.send(&Message::Hello(hello)).await.unwrap();
    while !matches!(receiver.receive().await.unwrap(), Message::OfferEnd) {}
    let ready = Ready { uri: uri.into(), devices_left_out: Vec::new() };
    sender.send(&Message::Ready(ready)).await.unwrap();
    (sender, receiver)
}

/// What a receiver does that restores nothing.
enum Does {
    /// It reads nothing, and says nothing.
    Nothing,
    /// It reads, and says this again and again.
    Chats(Message),
    /// It settles a page now and then, less than a silence limit after the one before.
    Drips,
}

const SILENCE: Duration = Duration::from_secs(1);

async fn idle_receiver(fixture: &Fixture<'_>, does: Does) -> Report {
    let uri = listening(fixture).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut options = fixture.options(address);
    options.timeout = Some(15 * SILENCE);
    let route = route(&mut options);
    route.silence = SILENCE;
    // Else QEMU has taken the pages over long before.
    route.share = !matches!(does, Does::Drips);
    let receiver = tokio::spawn(async move {
        let (mut sender, mut receiver) = agrees(listener, uri).await;
        let (chats, pause) = match does {
            Does::Nothing => return std::future::pending().await,
            Does::Chats(message) => (Some(message), Duration::from_millis(1)),
            Does::Drips => (None, SILENCE / 3),
        };
        // Zero pages come first in the set, and have no hashes.
        let mut page = None;
        let mut tick = tokio::time::interval(pause);
        loop {
            let message = tokio::select! {
                received = receiver.receive() => match received {
                    Ok(Message::Hashes { first, .. }) => {
                        page.get_or_insert(first);
                        continue;
                    }
                    Ok(Message::Finish(_)) | Err(_) => return,
                    Ok(_) => continue,
                },
                _ = tick.tick() => match (&chats, &mut page) {
                    (Some(message), _) => message.clone(),
                    (None, None) => continue,
                    (None, Some(page)) => {
                        let range = SetRange { first: *page, count: 1 };
                        *page += 1;
                        Message::NotInstalled(NotInstalled::TooLate, vec![range])
                    }
                },
            };
            if sender.send(&message).await.is_err() {
                return;
            }
        }
    });
    let (_canceller, cancel) = cancellation();
    let report = source::migrate(&options, cancel, &mut |_| {}).await.unwrap();
    receiver.abort();
    fixture.assert_identical(&report).await;
    assert_eq!(report.pages.installed, 0, "{:?}", report.pages);
    report
}

/// A page in each silence limit would keep QEMU throttled for as many limits as there are pages. One QEMU is enough.
#[test]
fn receiver_settles_a_page_now_and_then() {
    lab::run("faults::receiver_settles_a_page_now_and_then", QemuRelease::Q100, async |lab| {
        let fixture = Fixture::new(&lab, Setting::default()).await;
        let report = idle_receiver(&fixture, Does::Drips).await;
        assert_warns(&report, "KiB of memory a second");
        let late = report.redirtied_by_reason.get("too-late").copied().unwrap_or_default();
        assert!((1..100).contains(&late), "{:?}", report.redirtied_by_reason);
    });
}

/// What it says is no reason to throttle the migration; and what it counts is no more than there is.
async fn receiver_only_chats(lab: &Lab) {
    let fixture = Fixture::new(lab, Setting::default()).await;
    let most = Progress {
        storage_bytes: u64::MAX,
        installed: u64::MAX,
        already_present: u64::MAX,
        not_installed: u64::MAX,
        queued: u64::MAX,
    };
    let report = idle_receiver(&fixture, Does::Chats(Message::Progress(most))).await;
    assert_warns(&report, "the destination settled no page for 1 s");
    assert!(report.storage_bytes <= 64 << 30, "{} bytes of storage", report.storage_bytes);
    assert!(report.pages.already_present <= report.pages.skipped, "{:?}", report.pages);
}

/// Nor does it by reading nothing. One QEMU is enough: it has no part in this.
#[test]
fn receiver_reads_nothing() {
    lab::run("faults::receiver_reads_nothing", QemuRelease::Q100, async |lab| {
        let fixture = Fixture::new(&lab, Setting::default()).await;
        let report = idle_receiver(&fixture, Does::Nothing).await;
        assert_warns(&report, "the destination settled no page for 1 s");
    });
}

/// Before it has said that it is ready.
async fn receiver_dies_before_the_migration(lab: &Lab) {
    let fixture = Fixture::new(lab, Setting::default()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let dies = tokio::spawn(async move { drop(listener.accept().await) });
    let (_canceller, cancel) = cancellation();
    let error = fixture.migrate_to(address, cancel, &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, MigrateError::Channel { .. }), "{error}");
    dies.await.unwrap();
    fixture.assert_runs_on().await;
    let report = fixture.migrate().await;
    fixture.assert_identical(&report).await;
}

/// Waits for a snapshot that `wanted` wants; gives an observer and the wait.
fn watch(
    wanted: impl Fn(&Update) -> bool + Send + 'static,
) -> (impl FnMut(&Update) + Send, mpsc::UnboundedReceiver<()>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let observer = move |update: &Update| {
        if wanted(update) {
            let _ = sender.send(());
        }
    };
    (observer, receiver)
}

fn hinted(update: &Update) -> bool {
    matches!(update, Update::Snapshot(snapshot) if snapshot.skipped_pages > 0)
}

/// Stands between the source and the receiver; gives its address, and the task whose end cuts both off.
async fn cable(to: String) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let cable = tokio::spawn(async move {
        let (mut source, _) = listener.accept().await.unwrap();
        let mut receiver = TcpStream::connect(to).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut source, &mut receiver).await;
    });
    (address, cable)
}

/// A migration whose receiver is gone as soon as `when` is so.
async fn without_receiver(fixture: &Fixture<'_>, when: fn(&Update) -> bool) -> Report {
    let (address, receiver) = fixture.receiver().await;
    let (address, cable) = cable(address).await;
    let mut cut = |update: &Update| {
        if when(update) {
            cable.abort();
        }
    };
    let (_canceller, cancel) = cancellation();
    let report = fixture.migrate_to(address, cancel, &mut cut).await.unwrap();
    assert!(receiver.await.unwrap().is_err());
    fixture.assert_identical(&report).await;
    assert_warns(&report, "the rest of the memory goes by network");
    report
}

/// The set is taken back, and nothing is skipped; should QEMU be the first, it is re-dirtied while the VM runs.
async fn receiver_dies_before_the_hint(lab: &Lab) {
    let fixture = Fixture::new(lab, Setting::default()).await;
    let begins = |update: &Update| matches!(update, Update::Limits { ours: true });
    let report = without_receiver(&fixture, begins).await;
    println!("{} pages were skipped all the same", report.pages.skipped);
    let reasons = &report.redirtied_by_reason;
    assert_eq!(reasons.get("unconfirmed"), None, "{reasons:?}, {} ms", report.downtime_ms);
}

/// QEMU takes up what is re-dirtied before it stops the VM.
async fn receiver_dies_at_the_hint(lab: &Lab) {
    let fixture = Fixture::new(lab, Setting::default()).await;
    let report = without_receiver(&fixture, hinted).await;
    let reasons = &report.redirtied_by_reason;
    let trouble = ["channel-broke", "channel-ended"].iter().any(|name| reasons.contains_key(*name));
    assert!(trouble, "{reasons:?}");
    assert_eq!(reasons.get("unconfirmed"), None, "{reasons:?}, {} ms", report.downtime_ms);
}

/// One that would have QEMU run a program.
async fn receiver_with_another_aim(lab: &Lab) {
    let fixture = Fixture::new(lab, Setting::default()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let trace = lab.folder().join("trace");
    let uri = format!("exec:touch {}", trace.display());
    let receiver = tokio::spawn(async move {
        let (_sender, mut receiver) = agrees(listener, uri).await;
        let _ = receiver.receive().await;
    });
    let (_canceller, cancel) = cancellation();
    let ended = fixture.migrate_to(address, cancel, &mut |_| {}).await;
    assert!(matches!(&ended, Err(MigrateError::Unexpected { .. })), "{ended:?}");
    assert!(!trace.exists(), "QEMU has run what another host has named");
    receiver.await.unwrap();
    fixture.assert_runs_on().await;
    let report = fixture.migrate().await;
    fixture.assert_identical(&report).await;
}

async fn receiver_dies_while_restoring(lab: &Lab) {
    let fixture = Fixture::new(lab, slow()).await;
    let (address, receiver) = fixture.receiver().await;
    let (mut observer, _) = watch(|_| false);
    let (_canceller, cancel) = cancellation();
    let killer = receiver.abort_handle();
    let (mut seen, mut events) = watch(hinted);
    let kill = tokio::spawn(async move {
        events.recv().await;
        killer.abort();
    });
    let mut both = |update: &Update| {
        observer(update);
        seen(update);
    };
    let report = fixture.migrate_to(address, cancel, &mut both).await.unwrap();
    kill.await.unwrap();
    fixture.assert_identical(&report).await;
    let pages = report.pages;
    let accounted = pages.zero + pages.redirtied + pages.installed + pages.already_present;
    assert!(accounted >= PAGES, "{pages:?}");
}

async fn destination_dies(lab: &Lab) {
    let mut fixture = Fixture::new(lab, slow()).await;
    let (address, receiver) = fixture.receiver().await;
    let (_canceller, cancel) = cancellation();
    let pid = rustix::process::Pid::from_raw(fixture.destination.pid.cast_signed()).unwrap();
    let (mut seen, mut events) = watch(hinted);
    let kill = tokio::spawn(async move {
        events.recv().await;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    });
    let report = fixture.migrate_to(address, cancel, &mut seen).await.unwrap();
    kill.await.unwrap();
    assert_eq!(report.status, MigrationStatus::Failed, "{:#?}", report.warnings);
    drop(receiver);
    fixture.assert_runs_on().await;
    fixture.new_destination().await;
    let report = fixture.migrate().await;
    fixture.assert_identical(&report).await;
    assert_eq!(report.pages.installed, PAGES);
}

async fn cancelled(lab: &Lab) {
    let mut fixture = Fixture::new(lab, slow()).await;
    let (address, receiver) = fixture.receiver().await;
    let (canceller, cancel) = cancellation();
    let (mut seen, mut events) = watch(hinted);
    let interrupt = tokio::spawn(async move {
        events.recv().await;
        canceller.cancel("interrupted");
    });
    let report = fixture.migrate_to(address, cancel, &mut seen).await.unwrap();
    interrupt.await.unwrap();
    assert_eq!(report.status, MigrationStatus::Cancelled);
    assert_eq!(report.reason.unwrap(), "interrupted");
    let outcome = receiver.await.unwrap().unwrap();
    assert_eq!(outcome.finish.status, "cancelled");
    sleep(Duration::from_millis(200)).await;
    fixture.assert_runs_on().await;
    fixture.new_destination().await;
    let report = fixture.migrate().await;
    fixture.assert_identical(&report).await;
    assert_eq!(report.pages.installed, PAGES);
}

async fn postcopy_on(lab: &Lab) {
    let fixture = Fixture::new(lab, Setting::default()).await;
    for vm in [&fixture.source, &fixture.destination] {
        vm.set_capability("postcopy-ram", true).await;
    }
    let report = fixture.migrate().await;
    fixture.assert_identical(&report).await;
    assert_eq!(report.pages.skipped, 0);
    assert_warns(&report, "`postcopy-ram` is on");
}
