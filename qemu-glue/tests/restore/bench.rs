//! What hash and installation cost beside copying alone. Run with
//! `cargo test --release -p qemu-glue --test restore -- --ignored --nocapture bench`.

use std::fs::File;
use std::hint::black_box;
use std::time::Instant;

use qemu_glue::dest::{BlockFile, Fate, Limits, Placed, Target};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::rig::{PAGES, Rig, file, hash};

/// Bytes moved at a time, as a request has them.
const CHUNK: usize = 1 << 20;
const CHUNKS: usize = 1024;

fn rate(bytes: usize, begun: Instant) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let gib = bytes as f64 / f64::from(1 << 30);
    gib / begun.elapsed().as_secs_f64()
}

fn ram(length: usize) -> (File, Target) {
    let file = File::from(memfd_create("ram", MemfdFlags::CLOEXEC).unwrap());
    file.set_len(length as u64).unwrap();
    let target =
        Target::new(&[BlockFile { file: &file, offset: 0, length: length as u64 }]).unwrap();
    (file, target)
}

#[test]
#[ignore = "measures; needs a quiet machine and `--release`"]
fn bench_one_thread() {
    let chunk: Vec<u8> = (0..CHUNK).map(|at| (at / 3 % 251).to_le_bytes()[0]).collect();
    let mut copy = vec![0; CHUNK];
    let total = CHUNK * CHUNKS;

    let begun = Instant::now();
    (0..CHUNKS).for_each(|_| black_box(&mut copy).copy_from_slice(black_box(&chunk)));
    println!("memcpy in cache         {:6.2} GiB/s", rate(total, begun));

    let begun = Instant::now();
    for _ in 0..CHUNKS {
        for page in black_box(&chunk).chunks(4096) {
            black_box(blake3::hash(page));
        }
    }
    println!("BLAKE3 of 4 KiB pages   {:6.2} GiB/s", rate(total, begun));

    for pages in [256, 16, 4, 1] {
        let (_file, target) = ram(total);
        let piece = pages * 4096;
        let begun = Instant::now();
        for at in (0..total).step_by(piece) {
            target.place(0, at as u64, &chunk[..piece], |placed, _| {
                assert_eq!(placed, Placed::Installed);
            });
        }
        println!("UFFDIO_COPY, {pages:3} pages  {:6.2} GiB/s", rate(total, begun));
    }

    let (_file, target) = ram(total);
    let begun = Instant::now();
    for at in (0..total).step_by(CHUNK) {
        for page in black_box(&chunk).chunks(4096) {
            black_box(blake3::hash(page));
        }
        target.place(0, at as u64, &chunk, |placed, _| assert_eq!(placed, Placed::Installed));
    }
    println!("both                    {:6.2} GiB/s", rate(total, begun));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; needs a quiet machine and `--release`"]
async fn bench_whole_restore_of_a_scattered_set() {
    let hashes: Vec<_> = (0..PAGES).map(hash).collect();
    for _ in 0..5 {
        let rig = Rig::new();
        let mut running = rig.restore(&file(&rig.disk()), Limits::default()).await;
        let begun = Instant::now();
        running.restore.hashes(0, &hashes).unwrap();
        running.until(PAGES as usize).await;
        assert_eq!(running.count(Fate::Placed), PAGES as usize);
        let read = running.restore.progress().storage_bytes;
        let rate = rate(PAGES as usize * 4096, begun);
        println!(
            "whole restore           {rate:6.2} GiB/s, {read} bytes read for {}",
            rig.set.bytes()
        );
    }
}
