//! Two disks at the destination, one of which stalls.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use qemu_glue::dest::ReceiveEvent;
use qemu_glue::source::{self, MigrationMode, cancellation};
use rustix::process::{Pid, Signal, kill_process};
use test_qemus::QemuRelease;
use test_servers::skipped;

use crate::agent;
use crate::fixture::{Fixture, GROUP, SECOND_SERIAL, SERIAL, Setting, honest_of};
use crate::guest::PAGES;
use crate::lab::{self, Lab, wait_for};

/// Pages on the disk that stalls, which come first: more than are hashed ahead of storage.
const STALLED: u64 = 6000;

/// A `qemu-nbd` that serves the disk; it ends with this.
struct Nbd {
    child: Child,
    socket: PathBuf,
}

impl Nbd {
    /// `None`, with the skip line, where there is none.
    async fn start(test: &str, fixture: &Fixture<'_>) -> Option<Self> {
        let socket = fixture.lab.folder().join("nbd");
        let mut command = Command::new("qemu-nbd");
        command.args(["--read-only", "--persistent", "--shared=8", "--format=raw"]);
        command.args(["--export-name=data", "--socket"]).arg(&socket).arg(&fixture.disk);
        let child = match command.stdout(Stdio::null()).spawn() {
            Ok(child) => child,
            Err(error) => {
                skipped(test, format!("`qemu-nbd` does not start: {error}"));
                return None;
            }
        };
        let nbd = Self { child, socket };
        wait_for("`qemu-nbd` listens", async || UnixStream::connect(&nbd.socket).is_ok()).await;
        Some(nbd)
    }
}

impl Drop for Nbd {
    fn drop(&mut self) {
        // Also one that is stopped ends by SIGKILL.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_disk_that_stalls_keeps_no_other_from_its_pages() {
    let test = "disks::a_disk_that_stalls_keeps_no_other_from_its_pages";
    lab::run(test, QemuRelease::Q100, async |lab| other_goes_on(test, &lab).await);
}

/// Hashes of the first disk's pages stay unanswered; storage brings all of the second's all the same.
async fn other_goes_on(test: &str, lab: &Lab) {
    let setting = Setting { second_disk: true, bandwidth: Some(8 << 20), ..Setting::default() };
    let mut fixture = Fixture::new(lab, setting).await;
    let runs = honest_of(|group| u16::from(group * GROUP >= STALLED));
    fixture.list(&agent::list_of(&[SECOND_SERIAL, SERIAL], runs));
    let Some(nbd) = Nbd::start(test, &fixture).await else { return };
    let address = format!("nbd+unix:///data?socket={}", nbd.socket.display()).parse().unwrap();
    let pid = Pid::from_child(&nbd.child);
    let stall = move |event: &ReceiveEvent| {
        if matches!(event, ReceiveEvent::Ready { .. }) {
            kill_process(pid, Signal::STOP).unwrap();
        }
    };
    let (to, receiver) =
        fixture.receiver_of(vec![(format!("serial:{SECOND_SERIAL}"), address)], stall).await;
    let mut options = fixture.options(to);
    let MigrationMode::Poolferry(route) = &mut options.mode else { panic!() };
    route.share = true;
    options.timeout = Some(Duration::from_secs(60));
    let (_canceller, cancel) = cancellation();
    let report = source::migrate(&options, cancel, &mut |_| {}).await.unwrap();
    receiver.await.unwrap().unwrap();
    fixture.assert_identical(&report).await;
    let (pages, second) = (report.pages, PAGES - STALLED);
    println!("{:.1} s, {pages:?}", report.total_time_s);
    // The network takes pages from the back meanwhile; how many depends on the machine.
    assert!(pages.installed > second / 4, "of {second}: {pages:?}");
    assert!(pages.installed <= second, "the first disk answers nothing");
}
