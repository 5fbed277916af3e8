//! A destination's QEMU that got `migrate-incoming` from an attempt before: what has arrived in it stays, and the migration is a
//! stock one where it still can be one. Small VMs of their own, of each release that is here.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use page_number::PAGE_BYTES;
use qemu_glue::channel::{self, Message, Offer, PeerHello, Refused, Security, VERSION};
use qemu_glue::dest::{self, Limits, Options};
use qemu_glue::guest::GuestRam;
use qemu_glue::qmp::Qmp;
use qemu_glue::set::{Block, SetRun};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_qemus::{Qemu, QemuRelease};
use test_servers::skipped;
use tokio::time::sleep;

/// RAM of the VMs.
const RAM_BYTES: u64 = 64 << 20;
/// The pages that are offered: firmware leaves them alone.
const FIRST: u64 = 4096;
const PAGES: u32 = 4096;
/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// A running QEMU; it ends with this.
struct Vm {
    child: Child,
    socket: PathBuf,
}

impl Vm {
    fn start(qemu: &Qemu, folder: &Path, name: &str, more: &[&str]) -> Result<Self> {
        let socket = folder.join(format!("{name}.qmp"));
        let disk = folder.join("disk.raw");
        let mut command = qemu.command();
        command.args(["-nodefaults", "-display", "none", "-accel", "tcg", "-m", "64M"]);
        command.args(["-object", "memory-backend-memfd,id=mem0,size=64M,share=on"]);
        command.args(["-machine", "q35,memory-backend=mem0", "-drive"]);
        // Both VMs have it open; neither writes.
        let drive = "if=none,id=disk0,format=raw,cache=none,readonly=on,file=";
        command.arg(format!("{drive}{}", disk.display()));
        command.args(["-device", "virtio-blk-pci,drive=disk0,serial=data", "-qmp"]);
        command.arg(format!("unix:{},server=on,wait=off", socket.display()));
        command.args(more).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let vm = Self { child: command.spawn()?, socket };
        let begun = Instant::now();
        while UnixStream::connect(&vm.socket).is_err() {
            ensure!(begun.elapsed() < LIMIT, "QEMU does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(vm)
    }

    /// The file of its RAM.
    async fn memory(&self) -> Result<File> {
        let qmp = Qmp::connect(&self.socket).await?;
        let ram = GuestRam::writable(&qmp, qmp.peer_pid()?).await?;
        let block = ram.blocks().iter().find(|block| block.name == "mem0");
        Ok(block.ok_or_else(|| anyhow::anyhow!("no RAM block"))?.file.try_clone()?)
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two VMs; the source has no page of zeros among the offered ones.
struct Pair {
    source: Vm,
    destination: Vm,
    _folder: TempDir,
}

impl Pair {
    async fn start(qemu: &Qemu) -> Result<Self> {
        // Sockets want short paths, disks a real file system.
        let folder = TempDir::with_prefix_in("again-", "/var/tmp")?;
        let disk = File::create(folder.path().join("disk.raw"))?;
        disk.set_len(u64::from(PAGES) * PAGE_BYTES)?;
        let incoming = ["-incoming", "defer", "-S"];
        let destination = Vm::start(qemu, folder.path(), "destination", &incoming)?;
        let source = Vm::start(qemu, folder.path(), "source", &[])?;
        source.memory().await?.write_all_at(&offered(), FIRST * PAGE_BYTES)?;
        Ok(Self { source, destination, _folder: folder })
    }

    /// What the destination's host says to a source that offers the pages and then goes.
    async fn attempt(&self) -> Result<Message> {
        let options = Options {
            qmp: self.destination.socket.clone(),
            migration_address: "127.0.0.1".parse()?,
            security: Security::Plain,
            disks: Vec::new(),
            limits: Limits::default(),
            silence: dest::SILENCE,
            probes: false,
        };
        let (here, there) = tokio::io::duplex(1 << 16);
        let served =
            tokio::spawn(async move { dest::receive(there, &options, &mut |_| {}).await.is_ok() });
        let answer = offer(here).await?;
        ensure!(!served.await?, "the source has gone without a word");
        Ok(answer)
    }

    /// Begins a stock migration at so many bytes per second.
    async fn migrate(&self, uri: &str, bandwidth: u64) -> Result<Qmp> {
        let qmp = Qmp::connect(&self.source.socket).await?;
        qmp.execute("migrate-set-parameters", json!({ "max-bandwidth": bandwidth })).await?;
        qmp.execute("migrate", json!({ "uri": uri })).await?;
        Ok(qmp)
    }

    /// The migration completes, and the offered pages are as they were.
    async fn arrives(&self, source: &Qmp) -> Result<()> {
        source.execute("migrate-set-parameters", json!({ "max-bandwidth": 1_u64 << 30 })).await?;
        let begun = Instant::now();
        loop {
            let info: Value = source.query("query-migrate").await?;
            match info["status"].as_str() {
                Some("completed") => break,
                Some("failed" | "cancelled") => bail!("the migration did not complete: {info}"),
                _ => ensure!(begun.elapsed() < LIMIT, "the migration does not end: {info}"),
            }
            sleep(Duration::from_millis(50)).await;
        }
        let mut bytes = vec![0; offered().len()];
        self.destination.memory().await?.read_exact_at(&mut bytes, FIRST * PAGE_BYTES)?;
        let differ = |(here, there): &(&[u8], &[u8])| here != there;
        let pages = bytes.chunks(4096).zip(offered().chunks(4096)).filter(differ).count();
        assert_eq!(pages, 0, "pages that were lost");
        Ok(())
    }
}

fn offered() -> Vec<u8> {
    vec![0x5a; 4096 * PAGES as usize]
}

/// Greets, offers and receives the answer; the channel ends with this.
async fn offer(stream: tokio::io::DuplexStream) -> Result<Message> {
    let (mut sender, mut receiver) = channel::connect(stream, &Security::Plain).await?;
    let hello = PeerHello {
        version: VERSION,
        program: "test".into(),
        qemu: "".into(),
        migration: "again".into(),
    };
    sender.send(&Message::Hello(hello)).await?;
    receiver.receive().await?;
    let offset = FIRST * PAGE_BYTES;
    let offer = Offer {
        blocks: vec![Block { name: "mem0".into(), length: RAM_BYTES }],
        devices: vec!["serial:data".try_into()?],
        runs: 1,
        capabilities: Vec::new(),
        multifd: None,
        shares: false,
    };
    sender.send(&Message::Offer(offer)).await?;
    let runs = vec![SetRun { block: 0, device: 0, pages: PAGES, offset, place: 0 }];
    sender.send(&Message::Runs(runs)).await?;
    sender.send(&Message::OfferEnd).await?;
    Ok(receiver.receive().await?)
}

fn ready(answer: Message) -> Result<String> {
    match answer {
        Message::Ready(ready) => Ok(ready.uri.raw().to_owned()),
        other => bail!("not ready: {other:?}"),
    }
}

fn refused(answer: Message) -> Result<Refused> {
    match answer {
        Message::Refused(refused) => Ok(refused),
        other => bail!("not refused: {other:?}"),
    }
}

fn releases(test: &str) -> Vec<Qemu> {
    let all = [QemuRelease::Q72, QemuRelease::Q100, QemuRelease::Q111];
    let found = all.into_iter().filter_map(|release| match release.installed() {
        Ok(qemu) => Some(qemu),
        Err(why) => {
            skipped(test, format!("{why:#}"));
            None
        }
    });
    found.collect()
}

/// The channel breaks while QEMU's own stream goes on, and a source asks again.
#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_is_never_punched() -> Result<()> {
    for qemu in releases("again::what_arrives_is_never_punched") {
        let pair = Pair::start(&qemu).await?;
        let uri = ready(pair.attempt().await?)?;
        let source = pair.migrate(&uri, 4 << 20).await?;
        let (memory, begun) = (pair.destination.memory().await?, Instant::now());
        let mut byte = [0];
        while byte == [0] {
            ensure!(begun.elapsed() < LIMIT, "no page arrives");
            sleep(Duration::from_millis(20)).await;
            memory.read_exact_at(&mut byte, (FIRST + 64) * PAGE_BYTES)?;
        }
        let answer = refused(pair.attempt().await?)?;
        pair.arrives(&source).await?;
        assert!(answer.reason.contains("`active`"), "{}: {answer:?}", qemu.release());
        assert_eq!(answer.uri, None);
    }
    Ok(())
}

/// The source fails after `Ready` and before its QEMU connects, and tries again.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_attempt_is_a_stock_one() -> Result<()> {
    for qemu in releases("again::the_next_attempt_is_a_stock_one") {
        let pair = Pair::start(&qemu).await?;
        let first = ready(pair.attempt().await?)?;
        let info = qemu_glue::doctor::examine(&pair.destination.socket, None, &[]).await?;
        assert!(info.iter().any(|found| found.what.contains("listens already")), "{info:?}");
        for _ in 0..2 {
            let answer = refused(pair.attempt().await?)?;
            assert_eq!(
                answer.uri.as_ref().map(|uri| uri.raw()),
                Some(&*first),
                "{}: {answer:?}",
                qemu.release()
            );
            assert!(answer.hint.contains("QEMU anew"), "{answer:?}");
        }
        let source = pair.migrate(&first, 1 << 30).await?;
        pair.arrives(&source).await?;
    }
    Ok(())
}
