//! `poolferry-host list` on lists that would cost it much.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use page_wire::{Device, Facts, RUN_BYTES, encode, encode_head};
use tempfile::NamedTempFile;

/// What the program may take at any time; a small list takes a quarter of it.
const MOST_KIB: u64 = 32 << 10;

/// Exit status, both outputs (the first MiB of them), and the peak of its memory in KiB.
fn list(file: &Path, format: &str) -> (bool, String, u64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_poolferry-host"));
    command.args(["list", "--format", format]).arg(file);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let read = thread::spawn(move || {
        let mut text = String::new();
        (&mut out).take(1 << 20).read_to_string(&mut text).unwrap();
        std::io::copy(&mut out, &mut std::io::sink()).unwrap();
        err.read_to_string(&mut text).unwrap();
        text
    });
    let mut peak = 0;
    let status = loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.map_or(peak, |kib| kib.trim().trim_end_matches(" kB").parse().unwrap());
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => thread::sleep(std::time::Duration::from_micros(500)),
        }
    };
    (status.success(), read.join().unwrap(), peak)
}

/// Twelve million names of nothing: 96 MiB of them, which would become half a gigabyte.
#[test]
fn a_table_of_millions_of_names_is_refused_unread() {
    let file = NamedTempFile::new_in("/var/tmp").unwrap();
    let mut head = encode_head(&Facts::default(), &[], 0).unwrap();
    let names = 12_u32 << 20;
    head[20..24].copy_from_slice(&names.to_le_bytes());
    head[24..32].copy_from_slice(&(u64::from(names) * 8).to_le_bytes());
    file.as_file().write_all_at(&head, 0).unwrap();
    file.as_file().set_len(head.len() as u64 + u64::from(names) * 8).unwrap();
    let (done, text, peak) = list(file.path(), "summary");
    assert!(!done && text.contains("block devices, at most 64"), "{text}");
    assert!(peak < MOST_KIB, "{peak} KiB");
}

/// As many devices as there may be, and runs on each.
#[test]
fn a_long_list_is_read_once_and_never_held() {
    let file = NamedTempFile::new_in("/var/tmp").unwrap();
    let devices: Vec<Device> = (0..64).map(|n| Device::Disk(format!("serial:{n}"))).collect();
    let runs = 4_u64 << 20;
    let head = encode_head(&Facts::default(), &devices, runs).unwrap();
    let mut out = std::io::BufWriter::new(file.as_file());
    out.write_all(&head).unwrap();
    for run in 0..runs {
        let device = run * 64 / runs;
        let place = ((device << 48) | (run * 8)).to_le_bytes();
        out.write_all(&[run.to_le_bytes(), place].concat()).unwrap();
    }
    out.flush().unwrap();
    drop(out);
    assert_eq!(
        file.as_file().metadata().unwrap().len(),
        head.len() as u64 + runs * RUN_BYTES as u64
    );
    let (done, text, peak) = list(file.path(), "summary");
    assert!(done && text.contains(&format!("runs        {runs}, 16 bytes each")), "{text}");
    let of_each = runs / 64 * 4096;
    assert!(text.contains(&format!("disk serial:63: {of_each} bytes")), "{text}");
    assert!(peak < MOST_KIB, "{peak} KiB for a list of 64 MiB");
}

/// What came before a fault is printed as what it is: nothing in the summary, whole lines of runs else.
#[test]
fn a_list_that_ends_early_is_an_error() {
    let file = NamedTempFile::new_in("/var/tmp").unwrap();
    let runs = [(1, 8), (5, 16)].map(|(gfn, unit)| page_wire::Run::new(gfn, 1, 0, unit).unwrap());
    let mut bytes = Vec::new();
    let devices = [Device::Disk("serial:a".into())];
    encode(&mut bytes, &Facts::default(), &devices, 2, runs.into_iter()).unwrap();
    File::create(file.path()).unwrap().write_all(&bytes[..bytes.len() - 3]).unwrap();
    let (done, text, _) = list(file.path(), "summary");
    assert!(!done && text.contains("cut short") && !text.contains("runs  "), "{text}");
    let (done, text, _) = list(file.path(), "jsonl");
    assert!(!done && text.contains("\"gpa\":\"0x1000\"") && !text.contains("0x5000"), "{text}");
}

#[test]
fn what_is_no_list_is_told_with_a_remedy() {
    for (path, remedy) in
        [("/nosuch.bin", "check the path"), ("/etc/passwd", "poolferry pages --format bin")]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_poolferry-host"));
        let output = command.args(["list", path]).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && printed.contains("hint: ") && printed.contains(remedy),
            "{printed}"
        );
        assert_eq!(printed.matches(path).count(), 1, "{printed}");
    }
}
