//! The real `qemu-nbd`.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use qemu_glue::dest::{Fate, Limits};
use qemu_glue::storage::{Address, BufferPool, Storage};
use rustix::process::{Pid, Signal, kill_process};

use crate::rig::{PAGES, Rig, page};

/// A server; it ends with this.
pub(crate) struct Server {
    process: Child,
    socket: PathBuf,
}

impl Server {
    /// Serves `disk` read-only as export `data`; `None`, with the skip line, where there is no `qemu-nbd`.
    pub(crate) fn start(test: &str, disk: &Path, clients: u32) -> Option<Self> {
        let image = format!("driver=raw,file.driver=file,file.filename={}", disk.display());
        Self::of_image(test, disk, clients, &[&format!("{image},file.cache.direct=on")])
    }

    /// The same of an image in QEMU's own words, after options of its objects.
    pub(crate) fn of_image(test: &str, disk: &Path, clients: u32, image: &[&str]) -> Option<Self> {
        let socket = disk.with_file_name("nbd.sock");
        let _ = std::fs::remove_file(&socket);
        let mut command = Command::new("qemu-nbd");
        command.args(["--read-only", "--persistent", "--export-name=data"]);
        command.arg(format!("--shared={clients}")).arg("--socket").arg(&socket);
        command.arg("--image-opts").args(image);
        let process = match command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn() {
            Ok(process) => process,
            Err(error) => {
                println!("skipped: {test}: `qemu-nbd` does not start: {error}");
                return None;
            }
        };
        let server = Self { process, socket };
        let begun = Instant::now();
        while UnixStream::connect(&server.socket).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "qemu-nbd does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(server)
    }

    pub(crate) fn address(&self, export: &str) -> Address {
        format!("nbd+unix:///{export}?socket={}", self.socket.display()).parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Also one that is stopped ends by SIGKILL.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_restored_from_a_server() {
    let rig = Rig::new();
    let test = "a_set_is_restored_from_a_server";
    let Some(server) = Server::start(test, &rig.disk(), 8) else { return };
    let mut running = rig.restore(&server.address("data"), Limits::default()).await;
    running.hash(0..PAGES);
    running.until(PAGES as usize).await;
    assert_eq!(running.count(Fate::Installed), PAGES as usize);
    assert!((0..PAGES).all(|number| rig.ram_page(number) == page(number)));
    rig.assert_nothing_else_present();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_as_many_as_the_server_allows() {
    let rig = Rig::new();
    let test = "connections_are_as_many_as_the_server_allows";
    // The first connection of `Server::start` is gone by the time of ours, and counts no more.
    for (clients, manner) in [(8, "4 connections"), (1, "1 connection")] {
        let Some(server) = Server::start(test, &rig.disk(), clients) else { return };
        let storage = Storage::open(&server.address("data")).await.unwrap();
        assert_eq!(storage.manner(), manner, "{clients} clients");
        assert_eq!(storage.length(), rig.disk().metadata().unwrap().len());
        let pool = BufferPool::new(1, 4096);
        let place = rig.places(77).1;
        let read = storage.read(place, 4096, pool.take().await.unwrap()).await.unwrap();
        assert_eq!(read.filled(), page(77));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_not_there_is_named() {
    let rig = Rig::new();
    let test = "an_export_that_is_not_there_is_named";
    let Some(server) = Server::start(test, &rig.disk(), 8) else { return };
    let error = Storage::open(&server.address("other")).await.unwrap_err().to_string();
    assert!(error.contains("refuses export `other`"), "{error}");
}
