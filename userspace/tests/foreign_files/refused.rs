//! What each kind of hostile file costs: seconds of one process, and no memory of ours.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use symbols::elf::ElfError;
use symbols::isolated::Isolation;
use symbols::{Error, Options};
use test_servers::skipped;

use crate::lab::{Lab, Outcome, POOLFERRY, abbreviations, options, resolve, tiny_units, zeros};

/// What a hostile file may cost the agent beside what any file does.
const MOST: u64 = 64 << 20;

/// Looks at a file that must be refused with a remedy; the agent is as large as with the model. Gives what it says, and how long the
/// model took.
#[track_caller]
fn refused(lab: &Lab, program: &Path, why: &str) -> (Outcome, Duration) {
    let model = lab.look(&lab.program());
    let normal = model.peak;
    let outcome = lab.look(program);
    println!(
        "{program:?}: {:?}, {} KiB, normal {}",
        outcome.took,
        outcome.peak >> 10,
        normal >> 10
    );
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.errors.contains(why), "{}", outcome.errors);
    assert!(outcome.errors.contains("hint: "), "{}", outcome.errors);
    assert!(outcome.errors.lines().count() <= 6, "{}", outcome.errors);
    assert!(outcome.peak <= normal + MOST, "{} KiB, normally {}", outcome.peak >> 10, normal >> 10);
    (outcome, model.took)
}

#[test]
fn a_sparse_file_of_12_tib() {
    let Some(lab) = Lab::with("a_sparse_file_of_12_tib", &["-Wl,--build-id=none"]) else { return };
    let path = lab.path("sparse");
    fs::copy(lab.program(), &path).unwrap();
    if let Err(error) = OpenOptions::new().write(true).open(&path).unwrap().set_len(12 << 40) {
        return skipped("a_sparse_file_of_12_tib", format!("no file is that large: {error}"));
    }
    let (outcome, normal) = refused(&lab, &path, "13194139533312 bytes long");
    // Those bytes would take hours.
    assert!(
        outcome.took < Duration::from_secs(3) + 4 * normal,
        "{:?}, normally {normal:?}",
        outcome.took
    );
}

#[test]
fn four_million_tiny_units() {
    let Some(lab) = Lab::with("four_million_tiny_units", &["-g"]) else { return };
    let (units, table) = (tiny_units(4_000_000, 0, 1), abbreviations(1));
    let path =
        lab.changed("units", &[(".debug_info", &units, false), (".debug_abbrev", &table, false)]);
    refused(&lab, &path, "more than 500000 units");
}

#[test]
fn sections_that_state_gigabytes() {
    let Some(lab) = Lab::with("sections_that_state_gigabytes", &["-g"]) else { return };
    // Each has as many bytes as the limit on compression wants, and more than all together may take.
    let mut section = zeros(2 << 30, 6 << 20);
    section[8..16].copy_from_slice(&(5_u64 << 30).to_le_bytes());
    let names = [".debug_info", ".debug_abbrev", ".debug_str", ".debug_line"];
    let path = lab.changed("packed", &names.map(|name| (name, section.as_slice(), true)));
    refused(&lab, &path, "bytes uncompressed; all together may take");
    let small = zeros(2 << 30, 0);
    let path = lab.changed("small", &names.map(|name| (name, small.as_slice(), true)));
    refused(&lab, &path, "cannot read section");
}

/// The first of them fit, the others do not.
#[test]
fn sections_that_state_gigabytes_together() {
    const TEST: &str = "sections_that_state_gigabytes_together";
    let Some(lab) = Lab::with(TEST, &["-g"]) else { return };
    let section = zeros(16 << 20, 32 << 10);
    let names = [".debug_info", ".debug_abbrev", ".debug_str", ".debug_line"];
    let path = lab.changed("packed", &names.map(|name| (name, section.as_slice(), true)));
    let options = Options {
        budget_bytes: Some(40 << 20),
        ..options(Isolation::by(PathBuf::from(POOLFERRY)))
    };
    let error = resolve(&path, &options).unwrap_err();
    let Error::Elf(ElfError::SectionTooBig { limit, .. }) = error else { panic!("{error}") };
    assert_eq!(limit, 40 << 20);
}

/// The abbreviations of every unit lie outside of their section.
#[test]
fn a_million_broken_units() {
    let Some(lab) = Lab::with("a_million_broken_units", &["-g"]) else { return };
    for (count, why) in [(1_000_000, "more than 500000 units"), (400_000, "cannot be read")] {
        let units = tiny_units(count, u32::MAX, 1);
        let path = lab.changed("broken", &[(".debug_info", &units, false)]);
        let (outcome, _) = refused(&lab, &path, why);
        let is_reported =
            outcome.errors.contains("400000 units of the debug information are left out");
        assert_eq!(is_reported, count == 400_000, "{}", outcome.errors);
    }
}

/// The agent ends by an error or with an answer, never by a signal.
#[test]
fn a_file_that_is_cut_short_all_the_time() {
    let Some(lab) = Lab::with("a_file_that_is_cut_short_all_the_time", &["-g"]) else { return };
    let path = lab.path("cut");
    // Large enough to be caught in the middle.
    let mut whole = fs::read(lab.program()).unwrap();
    whole.resize(16 << 20, 1);
    fs::write(&path, &whole).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            while !done.load(Ordering::Relaxed) {
                file.set_len(4096).unwrap();
                file.write_all_at(&whole, 0).unwrap();
            }
        });
        let outcome: Vec<Outcome> = (0..20).map(|_| lab.look(&path)).collect();
        done.store(true, Ordering::Relaxed);
        for outcome in outcome {
            assert_eq!(outcome.status.signal(), None, "{}", outcome.errors);
        }
    });
}
