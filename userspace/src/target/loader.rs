//! A server that was started through the dynamic loader: `ld-linux-x86-64.so.2 /path/mysqld`.
//!
//! The kernel then knows the loader as the program (`/proc/PID/exe`), and the server is one of the files
//! that it maps. Which one, the command line says; the file itself is taken from the mapping, so what the
//! command line says can only choose among what the process really runs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::maps;
use crate::kernel_text::head;

/// Options of the loader that take a value as a word of its own (glibc 2.41, `elf/rtld.c`, `dl_main`).
const WITH_VALUE: [&str; 7] = [
    "--library-path",
    "--glibc-hwcaps-prepend",
    "--glibc-hwcaps-mask",
    "--inhibit-rpath",
    "--audit",
    "--preload",
    "--argv0",
];

/// Most bytes of a command line and of a table of mappings that are read; those of a server are below one
/// and some hundred thousand.
const MAX_COMMAND: u64 = 128 << 10;
const MAX_MAPS: u64 = 1 << 20;

/// The program that a loader has loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loaded {
    /// As the process's own namespace names it.
    pub(super) exe: PathBuf,
    /// Opens it from here.
    pub(super) program: PathBuf,
    /// Device and inode.
    pub(super) inode: (u64, u64),
}

/// True for the names of dynamic loaders: `ld-linux-x86-64.so.2`, `ld-2.31.so`, `ld-musl-x86_64.so.1`, `ld.so`.
pub(super) fn is_loader(exe: &Path) -> bool {
    let name = exe.file_name().map(OsStr::as_bytes).unwrap_or_default();
    let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
    let starts =
        name.starts_with(b"ld-") || name.starts_with(b"ld.so") || name.starts_with(b"ld64");
    starts && name.windows(3).any(|part| part == b".so")
}

/// What the loader that process `pid` is has loaded; none where that cannot be told, or has none of `names`.
pub(super) fn program_of(pid: u32, names: Option<&[String]>) -> Option<Loaded> {
    let command = head(format!("/proc/{pid}/cmdline"), MAX_COMMAND).ok()?;
    let named = named(&command)?;
    let file_name = Path::new(OsStr::from_bytes(named)).file_name()?;
    // Most programs behind a loader are no servers, and one word tells.
    if names.is_some_and(|names| !names.iter().any(|name| file_name == name.as_str())) {
        return None;
    }
    // The loader maps the program before anything else, so it stands at the table's start or among the
    // libraries; a table that is longer is no reason to read all of it for every process there is.
    let found = maps::first(pid, MAX_MAPS, |line| {
        let mapping = Mapping::parse(line)?;
        (mapping.exe.file_name() == Some(file_name)).then(|| mapping.open(pid)).flatten()
    });
    found.ok()?
}

/// The program in the command line of a loader: its first word that is no option.
fn named(command: &[u8]) -> Option<&[u8]> {
    let mut words = command.split(|byte| *byte == 0).skip(1);
    while let Some(word) = words.next() {
        if !word.starts_with(b"--") {
            return Some(word).filter(|word| !word.is_empty());
        }
        if WITH_VALUE.iter().any(|option| option.as_bytes() == word) {
            words.next()?;
        }
    }
    None
}

/// A mapping of code of a file.
struct Mapping {
    range: String,
    device: (u32, u32),
    inode: u64,
    exe: PathBuf,
}

impl Mapping {
    /// `START-END PERMISSIONS OFFSET MAJOR:MINOR INODE   PATH` (proc(5)).
    fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.splitn(6, |byte| *byte == b' ');
        let mut word = || std::str::from_utf8(words.next()?).ok();
        let (range, permissions, _offset) = (word()?, word()?, word()?);
        let (major, minor) = word()?.split_once(':')?;
        let hex = |text| u32::from_str_radix(text, 16).ok();
        let device = (hex(major)?, hex(minor)?);
        let inode = word()?.parse().ok()?;
        let exe = words.next()?.trim_ascii_start();
        let is_code = permissions.as_bytes().get(2) == Some(&b'x') && exe.starts_with(b"/");
        let exe = PathBuf::from(OsStr::from_bytes(exe));
        is_code.then(|| Self { range: range.to_owned(), device, inode, exe })
    }

    /// Through the mapping it is the very file, whatever its name means by now. Where that is not allowed
    /// (it wants CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE), its name in the process's own root has to lead
    /// to the same inode.
    fn open(self, pid: u32) -> Option<Loaded> {
        let id = |path: &Path| super::inode(path).ok().map(|found| found.inode);
        let by_mapping = PathBuf::from(format!("/proc/{pid}/map_files/{}", self.range));
        if let Some(inode) = id(&by_mapping) {
            return Some(Loaded { exe: self.exe, program: by_mapping, inode });
        }
        let below = self.exe.strip_prefix("/").unwrap_or(&self.exe);
        let by_name = PathBuf::from(format!("/proc/{pid}/root")).join(below);
        let inode = id(&by_name)?;
        let device = (rustix::fs::major(inode.0), rustix::fs::minor(inode.0));
        let same = device == self.device && inode.1 == self.inode;
        same.then_some(Loaded { exe: self.exe, program: by_name, inode })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loaders_are_known_by_name() {
        for name in
            ["ld-linux-x86-64.so.2", "ld-2.31.so", "ld-musl-x86_64.so.1", "ld.so", "ld64.so.1"]
        {
            assert!(is_loader(&Path::new("/lib64").join(name)), "{name}");
        }
        for name in ["mysqld", "ld", "ld-server", "gold.so", "libld-.so"] {
            assert!(!is_loader(&Path::new("/usr/bin").join(name)), "{name}");
        }
    }

    #[test]
    fn the_program_is_the_first_word_that_is_no_option() {
        let of = |words: &[&str]| {
            let command: String = words.iter().map(|word| format!("{word}\0")).collect();
            named(command.as_bytes()).map(|word| String::from_utf8_lossy(word).into_owned())
        };
        assert_eq!(of(&["ld.so", "/x/mysqld", "--port=1"]).as_deref(), Some("/x/mysqld"));
        let options = ["ld.so", "--library-path", "/lib", "--inhibit-cache", "mysqld"];
        assert_eq!(of(&options).as_deref(), Some("mysqld"));
        for none in
            [&["ld.so"][..], &["ld.so", "--list"], &["ld.so", "--audit", "x"], &[], &["", ""]]
        {
            assert_eq!(of(none), None, "{none:?}");
        }
    }

    #[test]
    fn only_code_of_files_is_a_mapping() {
        let parsed = |line: &str| Mapping::parse(line.as_bytes());
        let found =
            parsed("7f0-7f1 r-xp 00001000 fe:01 42                   /usr/bin/a b").unwrap();
        assert_eq!((found.device, found.inode), ((0xfe, 1), 42));
        assert_eq!(found.exe, Path::new("/usr/bin/a b"));
        for other in [
            "7f0-7f1 r--p 00001000 fe:01 42     /usr/bin/a",
            "7f0-7f1 r-xp 00000000 00:00 0      [vdso]",
            "7f0-7f1 r-xp 00000000 00:00 0 ",
            "7f0-7f1",
            "",
        ] {
            assert!(parsed(other).is_none(), "{other}");
        }
    }
}
