//! A source, a destination, the disk between them, and how they are made to migrate.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use migration_record::{MigrationStatus, Report};
use page_wire::Run;
use qemu_glue::channel::Security;
use qemu_glue::dest;
use qemu_glue::source::{
    self, Cancel, MigrateError, MigrationMode, Options, Route, Update, cancellation,
};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::agent;
use crate::guest::{self, Busy, FIRST_PAGE, MEMORY, PAGES};
use crate::lab::{Lab, wait_for};
use crate::vm::{self, Library, Vm};

/// Serial number of the disk.
pub(crate) const SERIAL: &str = "pf-data";
/// Serial number of the other disk, where there is one.
pub(crate) const SECOND_SERIAL: &str = "pf-second";
/// Pages of one place on the disk, as a database has them.
pub(crate) const GROUP: u64 = 4;

/// Where the pages begin on the disk.
const PLACES_AT: u64 = 1 << 16;

/// What is unlike a migration in which all goes well.
#[derive(Clone, Default)]
pub(crate) struct Setting {
    pub(crate) no_library: bool,
    pub(crate) busy: Busy,
    /// Bytes per second on the migration link.
    pub(crate) bandwidth: Option<u64>,
    pub(crate) destination_arguments: Vec<String>,
    /// The VM has the disk twice, the second time with [`SECOND_SERIAL`].
    pub(crate) second_disk: bool,
}

pub(crate) struct Fixture<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) source: Vm,
    pub(crate) destination: Vm,
    /// The disk, which both sides have.
    pub(crate) disk: PathBuf,
    setting: Setting,
    agent: Option<JoinHandle<()>>,
}

impl<'a> Fixture<'a> {
    /// Starts both sides; the disk has what the guest has in its memory, elsewhere.
    pub(crate) async fn new(lab: &'a Lab, setting: Setting) -> Fixture<'a> {
        let disk = lab.folder().join("data.img");
        // Firmware may boot from either disk: this one begins with the boot sector too.
        fs::copy(guest::disk(lab.folder(), setting.busy), &disk).unwrap();
        let file = File::options().write(true).open(&disk).unwrap();
        file.set_len(PLACES_AT + PAGES * 4096).unwrap();
        let library = if setting.no_library { Library::None } else { Library::Plugin };
        let arguments = arguments(lab, "source", setting.second_disk);
        let options = vm::Options {
            library,
            busy: setting.busy,
            arguments: &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
            ..vm::Options::default()
        };
        let source = Vm::source(lab, options).await;
        let mut group = vec![0; usize::try_from(GROUP * 4096).unwrap()];
        for number in 0..PAGES / GROUP {
            source.memory.read_exact_at(&mut group, (FIRST_PAGE + number * GROUP) * 4096).unwrap();
            file.write_all_at(&group, place(number)).unwrap();
        }
        file.sync_all().unwrap();
        let destination = Self::destination(lab, &setting).await;
        let mut fixture = Self { lab, source, destination, disk, setting, agent: None };
        fixture.list(&agent::list(SERIAL, honest()));
        fixture
    }

    async fn destination(lab: &Lab, setting: &Setting) -> Vm {
        let mut arguments = arguments(lab, "destination", setting.second_disk);
        arguments.extend(setting.destination_arguments.iter().cloned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let options = vm::Options { arguments: &arguments, ..vm::Options::incoming() };
        Vm::start(lab, "destination", options).await
    }

    /// Another destination, in place of one that has ended.
    pub(crate) async fn new_destination(&mut self) {
        self.destination.kill();
        self.destination = Self::destination(self.lab, &self.setting).await;
    }

    /// The agent answers with this list from now on.
    pub(crate) fn list(&mut self, list: &[u8]) {
        self.no_agent();
        self.agent = Some(agent::start(&self.agent_socket(), &self.source.memory, list));
    }

    /// The agent answers no request for its list from now on; gives whether there was one.
    pub(crate) fn silent_agent(&mut self) -> Arc<AtomicBool> {
        self.no_agent();
        let is_requested = Arc::new(AtomicBool::new(false));
        self.agent = Some(agent::silent(&self.agent_socket(), Arc::clone(&is_requested)));
        is_requested
    }

    /// Nobody answers any more.
    pub(crate) fn no_agent(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.abort();
        }
        let _ = fs::remove_file(self.agent_socket());
    }

    fn agent_socket(&self) -> PathBuf {
        self.lab.folder().join("agent")
    }

    /// Groups from `first` on have other bytes on the disk than in memory.
    pub(crate) fn spoil(&self, first: u64, groups: u64) {
        let file = File::options().write(true).open(&self.disk).unwrap();
        for number in first..first + groups {
            for page in 0..GROUP {
                file.write_all_at(b"stale", place(number) + page * 4096 + 100).unwrap();
            }
        }
        file.sync_all().unwrap();
    }

    /// Starts a receiver; gives its address and the task that it is.
    pub(crate) async fn receiver(&self) -> (String, JoinHandle<Result<dest::Outcome, String>>) {
        self.receiver_of(Vec::new(), |_| ()).await
    }

    /// One with storage of its own for these disks, which reports to `observer` how it goes.
    pub(crate) async fn receiver_of(
        &self,
        disks: Vec<dest::Override>,
        mut observer: impl FnMut(&dest::ReceiveEvent) + Send + 'static,
    ) -> (String, JoinHandle<Result<dest::Outcome, String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let options = dest::Options {
            qmp: self.lab.folder().join("destination.2.qmp"),
            migration_address: "127.0.0.1".parse().unwrap(),
            security: Security::Plain,
            disks,
            silence: dest::SILENCE,
            probes: false,
            limits: dest::Limits::default(),
        };
        let task = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let received = dest::receive(stream, &options, &mut observer).await;
            received.map_err(|error| error.to_string())
        });
        (address, task)
    }

    pub(crate) fn options(&self, to: String) -> Options {
        Options {
            qmp: self.lab.folder().join("source.2.qmp"),
            mode: MigrationMode::Poolferry(Route {
                agent: self.agent_socket(),
                to,
                uri: None,
                security: Security::Plain,
                // What storage has comes from storage, so that pages can be counted.
                share: false,
                multifd: None,
                list_timeout: Duration::from_secs(10),
                silence: source::SILENCE,
            }),
            max_bandwidth: self.setting.bandwidth,
            downtime_limit_ms: Some(100),
            timeout: Some(Duration::from_secs(120)),
            probes: false,
            leave_paused: true,
        }
    }

    /// A migration in which nobody interferes.
    pub(crate) async fn migrate(&self) -> Report {
        let (address, receiver) = self.receiver().await;
        let (_canceller, cancel) = cancellation();
        let report = self.migrate_to(address, cancel, &mut |_| {}).await.unwrap();
        let outcome = receiver.await.unwrap();
        assert!(outcome.is_ok(), "{outcome:?}\n{:#?}", report.warnings);
        report
    }

    /// QEMU alone.
    pub(crate) async fn migrate_stock(&self) -> Report {
        let uri = format!("unix:{}", self.lab.folder().join("migration").display());
        self.destination.execute("migrate-incoming", json!({ "uri": uri })).await;
        let (_canceller, cancel) = cancellation();
        let options = Options { mode: MigrationMode::Stock { uri }, ..self.options(String::new()) };
        let report = source::migrate(&options, cancel, &mut |_| {}).await.unwrap();
        self.arrived().await;
        report
    }

    async fn arrived(&self) {
        wait_for("the destination has all", async || {
            let status = self.destination.execute("query-status", json!({})).await;
            status["status"] != "inmigrate"
        })
        .await;
    }

    pub(crate) async fn migrate_to(
        &self,
        address: String,
        cancel: Cancel,
        observer: &mut (dyn FnMut(&Update) + Send),
    ) -> Result<Report, MigrateError> {
        source::migrate(&self.options(address), cancel, observer).await
    }

    /// The migration completed, every page is accounted for, and both memories are the same.
    pub(crate) async fn assert_identical(&self, report: &Report) {
        assert_eq!(
            report.status,
            MigrationStatus::Completed,
            "{:?} {:#?}",
            report.reason,
            report.warnings
        );
        let pages = report.pages;
        let settled = pages.zero + pages.installed + pages.already_present + pages.redirtied;
        assert_eq!(settled, pages.skipped, "{report:#?}");
        self.arrived().await;
        assert!(!self.source.runs().await && !self.destination.runs().await);
        assert_eq!(self.differing_pages(), Vec::<u64>::new(), "{pages:?} {:#?}", report.warnings);
    }

    /// The VM runs at the source, and nowhere else.
    pub(crate) async fn assert_runs_on(&self) {
        assert!(self.source.runs().await);
    }

    /// Numbers of pages that differ between both sides.
    pub(crate) fn differing_pages(&self) -> Vec<u64> {
        let (mut here, mut there) = ([0; 4096], [0; 4096]);
        (0..MEMORY / 4096)
            .filter(|page| {
                self.source.memory.read_exact_at(&mut here, page * 4096).unwrap();
                self.destination.memory.read_exact_at(&mut there, page * 4096).unwrap();
                here != there
            })
            .collect()
    }
}

impl Drop for Fixture<'_> {
    fn drop(&mut self) {
        self.no_agent();
    }
}

/// Where a group lies on the disk: shuffled, so that neighbours in memory are none there.
pub(crate) const fn place(group: u64) -> u64 {
    let groups = PAGES / GROUP;
    PLACES_AT + (group * 1031 % groups) * GROUP * 4096
}

/// The list that is true.
pub(crate) fn honest() -> Vec<Run> {
    honest_of(|_| 0)
}

/// All groups, each on the device of this index.
pub(crate) fn honest_of(device: impl Fn(u64) -> u16) -> Vec<Run> {
    (0..PAGES / GROUP)
        .map(|group| {
            let frame = FIRST_PAGE + group * GROUP;
            let pages = u32::try_from(GROUP).unwrap();
            Run::new(frame, pages, device(group), place(group) >> 9).unwrap()
        })
        .collect()
}

/// A second monitor, as each serves one client, and the disk.
fn arguments(lab: &Lab, name: &str, has_second: bool) -> Vec<String> {
    let folder = lab.folder().display();
    let _ = fs::remove_file(lab.folder().join(format!("{name}.2.qmp")));
    let disk = |node: &str, serial: &str| {
        [
            "-blockdev".to_owned(),
            format!(
                "driver=raw,node-name={node},file.driver=file,file.filename={folder}/data.img,\
                 file.locking=off,file.cache.direct=on"
            ),
            "-device".to_owned(),
            format!("virtio-blk-pci,drive={node},share-rw=on,id={node}0,serial={serial}"),
        ]
    };
    let mut arguments =
        vec!["-qmp".to_owned(), format!("unix:{folder}/{name}.2.qmp,server=on,wait=off")];
    arguments.extend(disk("data", SERIAL));
    if has_second {
        arguments.extend(disk("second", SECOND_SERIAL));
    }
    arguments
}
