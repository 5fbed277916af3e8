//! A small file that decides what this process does: who can write it, and how it is read.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

use crate::elf::Owner;
use crate::elf::snapshot::link_to;
use crate::trust::{Distrust, Trust};

/// Why a small file is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SmallFileError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("not a regular file")]
    NotAFile,
    #[error("it {0}")]
    Stranger(#[from] Distrust),
    #[error("larger than {limit} bytes")]
    TooLarge { limit: u64 },
}

/// Reads the file at `path`, which only those in `trust` may write, of at most `limit` bytes, and which is
/// no link. It is looked at before it is opened: opening a pipe waits, opening a device may act.
pub(crate) fn read(path: &Path, limit: u64, trust: &Trust) -> Result<Vec<u8>, SmallFileError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from)?;
    let stat = rustix::fs::fstat(&place).map_err(io::Error::from)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(SmallFileError::NotAFile);
    }
    trust.check(&Owner::of(&stat))?;
    let mut bytes = Vec::new();
    File::open(link_to(&place))?.take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 <= limit {
        true => Ok(bytes),
        false => Err(SmallFileError::TooLarge { limit }),
    }
}
