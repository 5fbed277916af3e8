//! Everything that the process without rights reads, for the fuzzer; not part of any other build.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::budget::Budget;
use crate::debug_file::files::FileProvider;
use crate::debug_file::found::{FoundFile, RootPlace};
use crate::debug_file::link::BuildId;
use crate::debug_file::{DebugFileRefusal, Debuginfod, SearchOptions};
use crate::elf::{FileSnapshot, Program};
use crate::error::Error;
use crate::profile::Profile;
use crate::read;

/// What all files of one input may take, in bytes.
const BUDGET: u64 = 64 << 20;
/// Requests that are answered with a file.
const ANSWERS: usize = 8;

/// The profile of a program whose owner wrote all files that it asks for: the first of `beside` at its first
/// request, then the next, and the first again.
///
/// # Errors
/// Those of [`resolve`](crate::resolve()).
pub fn read(program: &[u8], beside: &[&[u8]]) -> Result<Profile, Error> {
    let budget = Budget::new(BUDGET);
    let path = PathBuf::from("/usr/sbin/mysqld");
    let program = Program::from_bytes(&path, program.to_vec(), &budget)?;
    let roots = vec![RootPlace { shown: PathBuf::from("/"), program: path }];
    let beside = beside.iter().map(|bytes| bytes.to_vec()).collect();
    let files = Planted { roots, beside, budget, requests: Cell::new(0) };
    let urls = vec!["http://planted".to_owned()];
    let options = SearchOptions {
        debug_dirs: vec![PathBuf::from("/usr/lib/debug")],
        debuginfod: Debuginfod { urls, ..Debuginfod::default() },
        ..SearchOptions::default()
    };
    Ok(read::read(&program, Rc::new(files), &options)?.profile)
}

#[derive(Debug)]
struct Planted {
    roots: Vec<RootPlace>,
    beside: Vec<Vec<u8>>,
    budget: Budget,
    requests: Cell<usize>,
}

impl Planted {
    fn next(&self) -> Result<FileSnapshot, DebugFileRefusal> {
        let number = self.requests.replace(self.requests.get() + 1);
        if self.beside.is_empty() || number >= ANSWERS {
            return Err(DebugFileRefusal::Absent);
        }
        let bytes = self.beside.get(number % self.beside.len()).ok_or(DebugFileRefusal::Absent)?;
        FileSnapshot::of_bytes(bytes, &self.budget).map_err(DebugFileRefusal::from_read)
    }
}

impl FileProvider for Planted {
    fn roots(&self) -> &[RootPlace] {
        &self.roots
    }

    fn open(&self, _: usize, path: &Path) -> Result<FoundFile, DebugFileRefusal> {
        let real_dir = path.parent().map(Path::to_owned);
        Ok(FoundFile { snapshot: self.next()?, real_dir })
    }

    fn fetched(&self, _: &BuildId) -> Option<Result<FileSnapshot, DebugFileRefusal>> {
        None
    }

    fn fetch(&self, _: usize, _: &BuildId) -> Result<FileSnapshot, DebugFileRefusal> {
        self.next()
    }

    fn settle(&self, _: &BuildId, _: bool) {}

    fn stored(&self, _: &str) -> Option<(String, Result<String, DebugFileRefusal>)> {
        None
    }

    fn has_stored(&self) -> bool {
        false
    }

    fn symbol_list(&self, _: usize, _: &Path) -> Result<FileSnapshot, DebugFileRefusal> {
        self.next()
    }
}
