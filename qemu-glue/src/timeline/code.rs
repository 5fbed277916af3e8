//! Where the code of a running QEMU lies: the file, and the offsets of its functions in it.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use symbols::text::{ProgramText, ProvenSite};

use super::{Function, TimelineError};

/// The file that holds a QEMU's code, held open: what is looked at is what is probed, whatever its names mean by then.
#[derive(Debug)]
pub struct Code {
    text: ProgramText,
    /// Of the mapping that it was found by.
    name: String,
}

/// Most mappings that are looked at; a QEMU has some hundreds.
const MAX_MAPPINGS: usize = 10_000;
/// Most bytes of their table: a name in it is as long as QEMU likes.
const MAX_BYTES: u64 = 4 << 20;

impl Code {
    /// Looks for it among the mapped files of process `pid`.
    ///
    /// It need not be `/proc/PID/exe`: a QEMU that is run through a loader has the loader there.
    ///
    /// # Errors
    /// When the process cannot be looked at, maps no such file, or maps one whose symbols do not name the starts of functions.
    pub fn of(pid: u32) -> Result<Self, TimelineError> {
        let mut maps = String::new();
        File::open(format!("/proc/{pid}/maps"))
            .and_then(|table| table.take(MAX_BYTES).read_to_string(&mut maps))
            .map_err(|source| TimelineError::Process { pid, source })?;
        let mut seen: Vec<&str> = Vec::new();
        for mapping in maps.lines().take(MAX_MAPPINGS).filter_map(Mapping::parse) {
            if seen.contains(&mapping.file) {
                continue;
            }
            seen.push(mapping.file);
            // What cannot be opened or read as a program is none of QEMU's.
            let Some(text) = mapping.open(pid).and_then(|file| ProgramText::of(file).ok()) else {
                continue;
            };
            let code = Self { text, name: mapping.file.to_owned() };
            if !code.sites()?.is_empty() {
                return Ok(code);
            }
        }
        Err(TimelineError::NoQemu { pid })
    }

    /// The file.
    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.text.file()
    }

    /// As the mapping names it.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(&self.name)
    }

    /// The functions that it exports, each proven to start there.
    ///
    /// # Errors
    /// [`TimelineError::Unproven`].
    pub(super) fn sites(&self) -> Result<Vec<(Function, ProvenSite<'_>)>, TimelineError> {
        let unproven = |source| TimelineError::Unproven {
            path: PathBuf::from(&self.name),
            source: Box::new(source),
        };
        let sites = self.text.prove_starts(&Function::ALL.map(Function::name)).map_err(unproven)?;
        let functions = Function::ALL.into_iter().zip(sites);
        Ok(functions.filter_map(|(function, site)| Some((function, site?))).collect())
    }
}

/// A line of `/proc/PID/maps` whose mapping holds code of a file.
struct Mapping<'a> {
    range: &'a str,
    inode: u64,
    file: &'a str,
}

impl<'a> Mapping<'a> {
    /// `START-END PERMISSIONS OFFSET MAJOR:MINOR INODE   PATH`
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.splitn(6, ' ');
        let (range, permissions) = (words.next()?, words.next()?);
        let (inode, file) = (words.nth(2)?.parse().ok()?, words.next()?.trim_start());
        let is_code = permissions.as_bytes().get(2) == Some(&b'x') && file.starts_with('/');
        is_code.then_some(Self { range, inode, file })
    }

    /// The mapped file. Through the mapping it is the very file, even if its name leads elsewhere by now. Where that is not
    /// allowed, the name within the process's own root folder has to do, if the same inode is there.
    fn open(&self, pid: u32) -> Option<File> {
        let open = |path: String| foreign_file::held_by(Path::new(&path)).ok()?.open().ok();
        open(format!("/proc/{pid}/map_files/{}", self.range)).or_else(|| {
            let file = open(format!("/proc/{pid}/root{}", self.file))?;
            (file.metadata().ok()?.ino() == self.inode).then_some(file)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_looked_at() {
        let file = |line| Mapping::parse(line).map(|mapping| mapping.file.to_owned());
        let code = "7f0-7f1 r-xp 00001000 fe:01 42                   /usr/bin/a b";
        assert_eq!(file(code).as_deref(), Some("/usr/bin/a b"));
        for other in [
            "7f0-7f1 r--p 00001000 fe:01 42     /usr/bin/a",
            "7f0-7f1 r-xp 00000000 00:00 0      [vdso]",
            "7f0-7f1 r-xp 00000000 00:00 0 ",
            "7f0-7f1",
            "",
        ] {
            assert_eq!(file(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_qemu_has_no_code() {
        let found = Code::of(std::process::id());
        assert!(matches!(found, Err(TimelineError::NoQemu { .. })), "{found:?}");
        assert!(matches!(Code::of(u32::MAX), Err(TimelineError::Process { .. })));
    }
}
