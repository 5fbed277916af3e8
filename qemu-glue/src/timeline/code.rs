//! Where the code of a running QEMU lies: the file, and the offsets of its functions in it.

use std::fs;
use std::path::{Path, PathBuf};

use object::read::ReadCache;
use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};

use super::{Function, TimelineError};

/// The file that holds a QEMU's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// A path that leads to it from here, whatever root folder the process has.
    pub(super) path: PathBuf,
    /// File offsets of those functions that it exports.
    pub(super) functions: Vec<(Function, u64)>,
}

/// Most mappings that are looked at; a QEMU has some hundreds.
const MAX_MAPPINGS: usize = 10_000;

impl Code {
    /// Looks for it among the mapped files of process `pid`.
    ///
    /// It need not be `/proc/PID/exe`: a QEMU that is run through a loader has the loader there.
    ///
    /// # Errors
    /// When the process cannot be looked at, or maps no such file.
    pub fn of(pid: u32) -> Result<Self, TimelineError> {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps"))
            .map_err(|source| TimelineError::Process { pid, source })?;
        let mut seen: Vec<&str> = Vec::new();
        for mapping in maps.lines().take(MAX_MAPPINGS).filter_map(Mapping::parse) {
            if seen.contains(&mapping.file) {
                continue;
            }
            seen.push(mapping.file);
            // Through the mapping it is the very file, even if its name leads elsewhere by now. Where
            // that is not allowed, the name within the process's own root folder has to do.
            let by_mapping = format!("/proc/{pid}/map_files/{}", mapping.range);
            let by_name = format!("/proc/{pid}/root{}", mapping.file);
            let mut paths = [by_mapping, by_name].into_iter().map(PathBuf::from);
            let found = paths.find_map(|path| Some((functions(&path)?, path)));
            if let Some((functions, path)) = found.filter(|(functions, _)| !functions.is_empty()) {
                return Ok(Self { path, functions });
            }
        }
        Err(TimelineError::NoQemu { pid })
    }
}

/// A line of `/proc/PID/maps` whose mapping holds code of a file.
struct Mapping<'a> {
    range: &'a str,
    file: &'a str,
}

impl<'a> Mapping<'a> {
    /// `START-END PERMISSIONS OFFSET MAJOR:MINOR INODE   PATH`
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.splitn(6, ' ');
        let (range, permissions) = (words.next()?, words.next()?);
        let file = words.nth(3)?.trim_start();
        let is_code = permissions.as_bytes().get(2) == Some(&b'x') && file.starts_with('/');
        is_code.then_some(Self { range, file })
    }
}

/// The functions that the file exports, with the file offsets of their code; `None` where it cannot be
/// read or is no program.
fn functions(path: &Path) -> Option<Vec<(Function, u64)>> {
    let cache = ReadCache::new(foreign_file::held_by(path).ok()?.open().ok()?);
    let file = object::File::parse(&cache).ok()?;
    let mut found = Vec::new();
    for symbol in file.dynamic_symbols().filter(|symbol| symbol.is_definition()) {
        let name = symbol.name().unwrap_or_default();
        let known = Function::ALL.into_iter().find(|function| function.name() == name);
        let offset = || {
            let address = symbol.address();
            file.segments().find_map(|segment| {
                let (start, size) = segment.file_range();
                let ahead = address.checked_sub(segment.address())?;
                (ahead < size).then(|| start.checked_add(ahead))?
            })
        };
        if let Some(function) = known
            && let Some(offset) = offset()
        {
            found.push((function, offset));
        }
    }
    // A versioned symbol stands in the table twice; one probe is enough.
    found.sort_by_key(|(function, _)| *function as u8);
    found.dedup_by_key(|(function, _)| *function);
    Some(found)
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
        assert_eq!(functions(Path::new("/proc/self/maps")), None);
    }
}
