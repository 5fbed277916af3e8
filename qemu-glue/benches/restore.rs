//! What the restore costs, stage by stage, in GiB/s: `cargo bench -p qemu-glue --bench restore`.
//!
//! Set `POOLFERRY_BENCH_MIB` for another size than 1024 MiB. Files lie in the target folder, so storage
//! is what that lies on; the page cache is passed by.

#![expect(clippy::unwrap_used, reason = "a bench that cannot set up its parts ends there")]
#![expect(clippy::print_stdout, reason = "the figures")]

use std::fs::File;
use std::hint::black_box;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use page_number::PAGE_BYTES;
use qemu_glue::dest::{BlockFile, Fate, InstallOutcome, Limits, Restore, Target};
use qemu_glue::page_hash::{Hash, PAGE, hash_pages};
use qemu_glue::set::{Block, SetRun, SkipSet};
use qemu_glue::storage::{Address, BufferPool, Storage};
use rustix::fs::{MemfdFlags, memfd_create};
use tempfile::TempDir;

/// Bytes moved at a time, as a request has them.
const CHUNK: usize = 1 << 20;
/// Pages of a database page of 16 KiB.
const OF_DATABASE: u32 = 4;

fn main() {
    // `cargo test --benches` asks whether it runs, not how fast.
    let quick = std::env::args().any(|argument| argument == "--test");
    let mib = std::env::var("POOLFERRY_BENCH_MIB").ok().and_then(|mib| mib.parse().ok());
    let bytes = mib.unwrap_or(if quick { 16 } else { 1024 }) << 20;
    one_thread(bytes);
    tokio::runtime::Runtime::new().unwrap().block_on(whole(bytes));
}

fn print(what: &str, bytes: usize, begun: Instant) {
    let seconds = begun.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = bytes as f64 / f64::from(1 << 30) / seconds;
    println!("{what:34} {rate:7.2} GiB/s");
}

fn ram(length: usize) -> (File, Target) {
    let file = File::from(memfd_create("ram", MemfdFlags::CLOEXEC).unwrap());
    file.set_len(length as u64).unwrap();
    let block = BlockFile { file: &file, offset: 0, length: length as u64 };
    let target = Target::new(&[block]).unwrap();
    (file, target)
}

/// Hashing and installing, beside copying.
fn one_thread(bytes: usize) {
    let chunk: Vec<u8> = (0..CHUNK).map(|at| (at / 3 % 251).to_le_bytes()[0]).collect();
    let mut copy = vec![0; bytes];
    // The first touch is the kernel's work, not the copy's.
    copy.fill(1);
    let begun = Instant::now();
    copy.chunks_mut(CHUNK).for_each(|to| to.copy_from_slice(black_box(&chunk)));
    print("memcpy, one thread", bytes, begun);
    drop(black_box(copy));

    let begun = Instant::now();
    for _ in 0..bytes / CHUNK {
        black_box(&chunk).chunks(PAGE).for_each(|page| {
            black_box(blake3::hash(page));
        });
    }
    print("BLAKE3 page by page, one thread", bytes, begun);

    let mut hashes = Vec::new();
    let begun = Instant::now();
    for _ in 0..bytes / CHUNK {
        hash(&chunk, &mut hashes);
    }
    print("BLAKE3 of pages, one thread", bytes, begun);

    for pages in [256, 16, OF_DATABASE as usize, 1] {
        let (_file, target) = ram(bytes);
        let begun = Instant::now();
        for at in (0..bytes).step_by(pages * PAGE) {
            install(&target, at, &chunk[..pages * PAGE]);
        }
        print(&format!("UFFDIO_COPY of {pages} pages, one thread"), bytes, begun);
    }

    let (_file, target) = ram(bytes);
    let begun = Instant::now();
    for at in (0..bytes).step_by(CHUNK) {
        hash(&chunk, &mut hashes);
        install(&target, at, &chunk);
    }
    print("BLAKE3 and UFFDIO_COPY, one thread", bytes, begun);
}

fn hash(chunk: &[u8], hashes: &mut Vec<Hash>) {
    hashes.clear();
    hash_pages(black_box(chunk).as_chunks().0, hashes);
    black_box(hashes);
}

fn install(target: &Target, at: usize, bytes: &[u8]) {
    target.install(0, at as u64, bytes, |installed, _| {
        assert_eq!(installed, InstallOutcome::Installed)
    });
}

/// Storage alone, and the whole restore from it.
async fn whole(bytes: usize) {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let disk = dir.path().join("disk.raw");
    let hashes = written(&disk, bytes);
    let set = set(bytes);
    let file = Address::File(disk.clone());
    storage("raw file alone", &file, bytes).await;
    restore("whole restore, raw file", &file, &set, &hashes).await;
    let Some(server) = Server::start(&disk) else {
        return println!("`qemu-nbd` does not start: no figures of NBD");
    };
    storage("NBD by unix socket alone", &server.address(), bytes).await;
    restore("whole restore, NBD", &server.address(), &set, &hashes).await;
}

/// A disk of pages that all differ; their hashes.
fn written(path: &Path, bytes: usize) -> Vec<[u8; 32]> {
    let mut disk = File::create(path).unwrap();
    let mut hashes = Vec::with_capacity(bytes / PAGE);
    let mut seed = blake3::Hasher::new();
    let mut page = [0; PAGE];
    for number in 0..bytes / PAGE {
        seed.reset().update(&number.to_le_bytes()).finalize_xof().fill(&mut page);
        hashes.push(*blake3::hash(&page).as_bytes());
        disk.write_all(&page).unwrap();
    }
    disk.sync_all().unwrap();
    hashes
}

/// Database pages in disk order, scattered over RAM as a pool has them.
fn set(bytes: usize) -> Arc<SkipSet> {
    let count = bytes as u64 / PAGE_BYTES / u64::from(OF_DATABASE);
    let unit = PAGE_BYTES * u64::from(OF_DATABASE);
    // A permutation: the factor is odd and the count a power of two, or next to it.
    let slots = count.next_power_of_two();
    let run = |number: u64| SetRun {
        block: 0,
        device: 0,
        pages: OF_DATABASE,
        offset: number.wrapping_mul(0x9e37_79b1) % slots * unit,
        place: number * unit,
    };
    let block = Block { name: "mem0".into(), length: slots * unit };
    let set = SkipSet::new(vec![block], vec!["serial:a".into()], (0..count).map(run).collect());
    Arc::new(set.unwrap())
}

/// Reads as the restore does, and does nothing with it.
async fn storage(what: &str, address: &Address, bytes: usize) {
    let storage = Storage::open(address).await.unwrap();
    let pool = BufferPool::new(Limits::default().buffers, CHUNK);
    let begun = Instant::now();
    let reads = (0..bytes).step_by(CHUNK).map(|at| {
        let (pool, storage) = (&pool, &storage);
        async move {
            storage.read(at as u64, CHUNK, pool.take().await.unwrap()).await.unwrap();
        }
    });
    futures::future::join_all(reads).await;
    print(&format!("{what} ({})", storage.manner()), bytes, begun);
}

async fn restore(what: &str, address: &Address, set: &Arc<SkipSet>, hashes: &[[u8; 32]]) {
    let storage = Storage::open(address).await.unwrap();
    let length = usize::try_from(set.blocks()[0].length).unwrap();
    let (_file, target) = ram(length);
    let begun = Instant::now();
    let (restore, mut answers) =
        Restore::start(Arc::clone(set), vec![Some(storage)], target, Limits::default());
    for (first, hashes) in (0..).step_by(256).zip(hashes.chunks(256)) {
        restore.hashes(first, hashes).unwrap();
    }
    let mut left = set.pages();
    while left > 0 {
        for (fate, range) in answers.recv().await.unwrap() {
            assert_eq!(fate, Fate::Installed);
            left -= range.count;
        }
    }
    print(what, usize::try_from(set.bytes()).unwrap(), begun);
    // With the hashes of the whole set, twice: the bench's own and the queue's.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
    println!("{:34} {own}", "");
}

/// `qemu-nbd`; it ends with this.
struct Server {
    process: std::process::Child,
    socket: PathBuf,
}

impl Server {
    fn start(disk: &Path) -> Option<Self> {
        let socket = disk.with_file_name("nbd.sock");
        let mut command = Command::new("qemu-nbd");
        command.args(["--read-only", "--persistent", "--format=raw", "--cache=none"]);
        command.args(["--aio=native", "--shared=0", "--export-name=data", "--socket"]);
        command.arg(&socket).arg(disk).stdout(Stdio::null());
        let server = Self { process: command.spawn().ok()?, socket };
        let begun = Instant::now();
        while UnixStream::connect(&server.socket).is_err() {
            if begun.elapsed() > Duration::from_secs(10) {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(server)
    }

    fn address(&self) -> Address {
        format!("nbd+unix:///data?socket={}", self.socket.display()).parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
