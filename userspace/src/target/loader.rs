//! A server that was started through the dynamic loader: `ld-linux-x86-64.so.2 /path/mysqld`.
//!
//! The kernel then knows the loader as the program (`/proc/PID/exe`), and the server is one of the files
//! that it maps. The command line names it; the file itself is taken from the mapping, so the
//! command line can only choose among what the process really runs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use kernel_text::{Mapping, first_mapping, head};

use super::inode::inode;

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

/// What the loader that process `pid` is has loaded; none where that is not known, or has none of `names`.
pub(super) fn program_of(pid: u32, names: Option<&[String]>) -> Option<Loaded> {
    let command = head(format!("/proc/{pid}/cmdline"), MAX_COMMAND).ok()?;
    let named = named(&command)?;
    let file_name = Path::new(OsStr::from_bytes(named)).file_name()?;
    // Most programs behind a loader are no servers, and one word shows it.
    if names.is_some_and(|names| !names.iter().any(|name| file_name == name.as_str())) {
        return None;
    }
    // The loader maps the program before anything else, so it stands at the table's start or among the
    // libraries; a table that is longer is no reason to read all of it for every process there is.
    let found = first_mapping(pid, MAX_MAPS, |mapping| {
        let is_it = mapping.is_code_of_a_file() && mapping.name.file_name() == Some(file_name);
        is_it.then(|| open(mapping, pid)).flatten()
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

/// Through the mapping it is the very file, whatever its name means by now. Where that is not allowed, its name in the
/// process's own root has to lead to the same inode.
fn open(mapping: &Mapping<'_>, pid: u32) -> Option<Loaded> {
    let id = |path: &Path| inode(path).ok().map(|found| found.inode);
    let exe = mapping.name.to_owned();
    let program = mapping.file_of(pid);
    if let Some(inode) = id(&program) {
        return Some(Loaded { exe, program, inode });
    }
    let program = mapping.name_of(pid);
    let inode = id(&program)?;
    let device = (rustix::fs::major(inode.0), rustix::fs::minor(inode.0));
    let same = device == mapping.device && inode.1 == mapping.inode;
    same.then_some(Loaded { exe, program, inode })
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
}
