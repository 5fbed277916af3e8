//! Small hostile files of every kind, each read once by a process without rights: an answer or an error, at a small cost.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use symbols::isolated::{ChildLimits, Isolation};
use symbols::profile::Profile;
use symbols::text::ProgramText;
use symbols::{Error, Options};
use tempfile::TempDir;

use crate::hostile_files::{self, Hostile};
use crate::lab::{POOLFERRY, field, options, resolve};

/// What so small a file may cost the process that reads it. It needs some milliseconds.
const LIMITS: ChildLimits = ChildLimits {
    work_bytes: 64 << 20,
    cpu: Duration::from_secs(2),
    wall: Duration::from_secs(10),
};
/// Of copies and decompressed sections.
const BUDGET: u64 = 64 << 20;
/// What all of them together may cost this process, in bytes.
const MOST: u64 = 64 << 20;
/// Longest proof of all sites.
const PROOF: Duration = Duration::from_secs(1);

struct Folder {
    dir: TempDir,
    options: Options,
}

impl Folder {
    fn new() -> Self {
        let isolation = Isolation { limits: LIMITS, ..Isolation::by(PathBuf::from(POOLFERRY)) };
        let options = Options { budget_bytes: Some(BUDGET), ..options(isolation) };
        Self { dir: TempDir::with_prefix("hostile-files-").unwrap(), options }
    }

    /// The file, and those beside it.
    fn write(&self, file: &Hostile) -> PathBuf {
        let path = self.dir.path().join("mysqld");
        fs::write(&path, &file.bytes).unwrap();
        let size = file.bytes.len() as u64 + file.hole;
        File::options().write(true).open(&path).unwrap().set_len(size).unwrap();
        for (name, bytes) in &file.beside {
            fs::write(self.dir.path().join(name), bytes).unwrap();
        }
        path
    }

    fn clear(&self, file: &Hostile) {
        file.beside
            .iter()
            .for_each(|(name, _)| fs::remove_file(self.dir.path().join(name)).unwrap());
    }

    fn read(&self, path: &Path) -> Result<Profile, Error> {
        resolve(path, &self.options).map(|resolved| resolved.profile)
    }
}

/// The model that all of them begin as is read to its end, so that a lie in it is met.
fn honest(folder: &Folder) -> Profile {
    let (name, bytes) = ("honest".to_owned(), hostile_files::honest());
    let path = folder.write(&Hostile { name, bytes, hole: 0, beside: Vec::new() });
    let profile = folder.read(&path).unwrap();
    assert!(profile.is_complete(), "{:?}", profile.missing);
    assert!(profile.sites.values().flatten().count() >= 5, "{:?}", profile.sites);
    ProgramText::open(&path).unwrap().prove_all(&profile).unwrap();
    profile
}

/// What became of some files.
#[derive(Default)]
struct Outcome {
    answers: usize,
    /// In how many of them all sites of the model are true.
    proven: usize,
    slowest: (Duration, String),
}

/// Reads each file once.
fn look(files: &[Hostile], model: &Profile) -> Outcome {
    let (folder, mut outcome) = (Folder::new(), Outcome::default());
    for file in files {
        let (path, start) = (folder.write(file), Instant::now());
        match folder.read(&path) {
            Ok(_) => outcome.answers += 1,
            // It died, was ended at a limit, or said what it must not say.
            Err(Error::Isolated(error)) => panic!("{}: {error:?}", file.name),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        let took = (start.elapsed(), file.name.clone());
        // What this process itself looks at: the sites of the model, in the hostile program.
        let start = Instant::now();
        if let Ok(text) = ProgramText::open(&path) {
            outcome.proven += usize::from(text.prove_all(model).is_ok());
        }
        assert!(start.elapsed() < PROOF, "{}: {:?}", file.name, start.elapsed());
        outcome.slowest = outcome.slowest.max(took);
        folder.clear(file);
    }
    outcome
}

#[test]
fn hostile_files_of_every_kind_are_read_within_bounds() {
    let model = honest(&Folder::new());
    let files = hostile_files::files();
    assert!(files.len() >= 200, "{}", files.len());
    let peak = || field("/proc/self/status", "VmHWM:").unwrap() * 1024;
    let (before, start) = (peak(), Instant::now());
    let (one, other) = files.split_at(files.len() / 2);
    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(|| look(one, &model));
        let other = look(other, &model);
        (one.join().unwrap(), other)
    });
    let grown = peak() - before;
    let (answers, proven) = (one.answers + other.answers, one.proven + other.proven);
    println!(
        "{} files in {:?}, {answers} with an answer, {proven} with all sites of the model, slowest {:?}, {} KiB more",
        files.len(),
        start.elapsed(),
        one.slowest.max(other.slowest),
        grown >> 10
    );
    // Lies about what is not read do no harm; others are noticed.
    assert!((1..files.len()).contains(&answers), "{answers}");
    assert!(grown <= MOST, "{grown} bytes");
}
