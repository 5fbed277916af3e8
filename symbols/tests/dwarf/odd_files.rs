//! Files that no compiler wrote: of absurd size, no files at all, written while they are read.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use symbols::elf::{ElfError, MAX_FILE_BYTES, Program};
use symbols::{Budget, Error};

use crate::build::{Build, profile};
use crate::common::skip;

/// Of a file that is refused unread, no more than this is read.
const UNREAD: u64 = 1 << 20;

/// Makes a program as long as `size` by a hole at its end.
fn stretch(path: &Path, size: u64) -> std::io::Result<()> {
    fs::copy(std::env::current_exe()?, path)?;
    OpenOptions::new().write(true).open(path)?.set_len(size)
}

/// What `work` gives, and the bytes that this thread has read for it (`/proc/thread-self/io`, Linux 3.17).
fn bytes_read<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let count = || -> u64 {
        let text = fs::read_to_string("/proc/thread-self/io").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
        line.parse().unwrap()
    };
    let before = count();
    let done = work();
    (done, count() - before)
}

#[test]
fn a_sparse_file_of_12_tib_is_refused_at_once() {
    let Some(build) = Build::with(&[], &[]) else { return };
    let path = build.path("mysqld");
    if let Err(error) = stretch(&path, 12 << 40) {
        return skip(&format!("this file system holds no such file: {error}"));
    }
    let (refused, read) = bytes_read(|| profile(&path));
    let error = refused.unwrap_err();
    assert!(read < UNREAD, "{read} bytes were read");
    assert!(matches!(error, Error::Elf(ElfError::TooLarge { .. })), "{error}");
    assert!(error.to_string().contains(&MAX_FILE_BYTES.to_string()), "{error}");
    assert!(error.hint().is_some());
}

/// Short enough for a program, but nobody has written the most of it: it is not hashed to its end.
#[test]
fn a_program_of_holes_is_refused_unread() {
    let Some(build) = Build::with(&[], &[]) else { return };
    let path = build.path("mysqld");
    stretch(&path, MAX_FILE_BYTES - 4096).unwrap();
    let budget = Budget::new(MAX_FILE_BYTES);
    let (opened, read) = bytes_read(|| Program::open_within(&path, &budget));
    let error = opened.unwrap_err();
    println!("{error} after {read} bytes");
    assert!(matches!(error, ElfError::Hollow { .. }), "{error}");
    assert!(error.hint().is_some());
    assert!(read < UNREAD, "{read} bytes were read");
}

#[test]
fn pipes_and_devices_are_not_opened() {
    let Some(build) = Build::with(&["mkfifo"], &[]) else { return };
    let pipe = build.path("mysqld");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [&pipe, Path::new("/dev/full"), Path::new("/dev/tty"), Path::new("/tmp")] {
        let error = profile(path).unwrap_err();
        assert!(matches!(error, Error::Elf(ElfError::NotElf { .. })), "{path:?}: {error}");
    }
}

/// The file is cut short and written again all the time, as by somebody who wants our end.
#[test]
fn a_file_that_is_cut_short_while_it_is_read_is_an_error() {
    let Some(build) = Build::with(&[], &[]) else { return };
    let path = build.path("mysqld");
    fs::copy(std::env::current_exe().unwrap(), &path).unwrap();
    let whole = fs::read(&path).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let cutting = scope.spawn(|| {
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            while !done.load(Ordering::Relaxed) {
                file.set_len(64).unwrap();
                file.write_all_at(&whole, 0).unwrap();
            }
        });
        let mut cut = 0;
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end && cut < 20 {
            match Program::open(&path) {
                // What was read stays what it was, whatever the file does.
                Ok(program) => {
                    assert_eq!(
                        program.content_hash(),
                        blake3::hash(program.bytes()).to_hex().as_str()
                    );
                }
                Err(ElfError::Cut { .. }) => cut += 1,
                Err(ElfError::NotElf { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        done.store(true, Ordering::Relaxed);
        cutting.join().unwrap();
    });
}

#[test]
fn all_files_together_have_one_budget() {
    let Some(build) = Build::with(&["g++", "objcopy"], &[("t.cc", "int main() {}")]) else {
        return;
    };
    let program = build.compile(&["-g", "-gz=none"], &["t.cc"]);
    if build.try_run("objcopy", &["--compress-debug-sections=zlib", "server"]).is_none() {
        return skip("this objcopy cannot compress");
    }
    let size = fs::metadata(&program).unwrap().len();
    let error = Program::open_within(&program, &Budget::new(size - 1)).unwrap_err();
    assert!(matches!(error, ElfError::NoRoom { .. }), "{error}");
    // Room for one copy and its sections, but not for two copies.
    let budget = Budget::new(size * 2 - 1);
    let first = Program::open_within(&program, &budget).unwrap();
    assert!(Program::open_within(&program, &budget).is_err());
    drop(first);

    let mut bytes = fs::read(&program).unwrap();
    // More than zlib can hold in so few bytes, as memory is taken by what is stated.
    state_uncompressed_size(&build, &mut bytes, ".debug_info", 1 << 30);
    let changed = build.path("changed");
    File::create(&changed).unwrap().write_all(&bytes).unwrap();
    let program = Program::open(&changed).unwrap();
    let error = program.section(".debug_info").unwrap_err();
    assert!(matches!(error, ElfError::Section { .. }), "{error}");
    // What could be, but not beside the others.
    state_uncompressed_size(&build, &mut bytes, ".debug_info", 20_000);
    File::create(&changed).unwrap().write_all(&bytes).unwrap();
    let program = Program::open_within(&changed, &Budget::new(size + 10_000)).unwrap();
    let error = program.section(".debug_info").unwrap_err();
    assert!(matches!(error, ElfError::SectionTooBig { .. }), "{error}");
}

/// Writes `size` into the compression header of a section, if it has one.
fn state_uncompressed_size(build: &Build, bytes: &mut [u8], name: &str, size: u64) {
    let output = build.try_run("readelf", &["-SW", "server"]).unwrap();
    let line = output.lines().find(|line| line.contains(&format!("{name} "))).expect(name);
    let mut words = line.split_once(name).unwrap().1.split_whitespace().skip(2);
    let at = usize::from_str_radix(words.next().unwrap(), 16).unwrap();
    // Elf64_Chdr: ch_type, ch_reserved, ch_size.
    bytes[at + 8..at + 16].copy_from_slice(&size.to_le_bytes());
}
