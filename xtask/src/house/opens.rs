//! A file that comes from outside is opened through the crate `foreign_file`, or by one of the few that look
//! at it as that does.

use std::path::Path;

use super::source::{Finding, Source};

/// Folders of the programs that run as root beside strangers.
const PROGRAMS: [&str; 6] = [
    "qemu-glue/record",
    "qemu-glue/report",
    "qemu-glue/src",
    "symbols/src",
    "userspace/kernel-text",
    "userspace/src",
];

/// Calls that open a file by its name.
const CALLS: [&str; 6] = [
    "File::open(",
    "File::options(",
    "fs::read(",
    "fs::read_to_string(",
    "OpenOptions::new(",
    "rustix::fs::open(",
];

/// Files that hold nothing but tests.
const TESTS: [&str; 3] = ["disks_tests.rs", "hostile_tests.rs", "tests.rs"];

/// Who opens files all the same, and why nothing of it is foreign.
const OWN: &[(&str, &str)] = &[
    ("qemu-glue/src/channel/key.rs", "the operator's key, checked for owner and mode"),
    ("qemu-glue/src/dest/memory/headroom.rs", "control groups: the kernel's"),
    ("qemu-glue/src/dest/memory/thp.rs", "sysfs: the kernel's"),
    ("qemu-glue/src/storage/mod.rs", "a type of its own, which goes through foreign_file"),
    ("symbols/src/cache.rs", "the cache's folder, whose owner and mode it checks"),
    ("symbols/src/debug_file/files.rs", "looks before it opens, as foreign_file does"),
    ("symbols/src/elf/snapshot.rs", "looks before it opens, as foreign_file does"),
    ("symbols/src/small_file.rs", "looks before it opens, as foreign_file does"),
    ("userspace/kernel-text/src/lib.rs", "files in /proc: the kernel's"),
    ("userspace/kernel-text/src/mappings.rs", "files in /proc: the kernel's"),
    ("userspace/src/agent/migration.rs", "the agent's own note in /run"),
    ("userspace/src/agent/port.rs", "the port that the operator names"),
    ("userspace/src/agent/port/name.rs", "sysfs: the kernel's"),
    ("userspace/src/cost.rs", "this process's own files in /proc"),
    ("userspace/src/doctor/mod.rs", "settings of the kernel"),
    ("userspace/src/doctor/storage.rs", "mount tables: the kernel's"),
    ("userspace/src/on_disk/device_mapper.rs", "the device mapper's control device"),
    ("userspace/src/on_disk/sysfs.rs", "sysfs, up to a page"),
    ("userspace/src/target.rs", "files in /proc: the kernel's"),
    ("userspace/src/target/loader.rs", "files in /proc: the kernel's"),
];

pub(super) fn find(source: &Source<'_>) -> Vec<Finding> {
    let inside = PROGRAMS.iter().any(|folder| source.path.starts_with(folder));
    let own = OWN.iter().any(|(path, _)| source.path == Path::new(path));
    let test = TESTS.iter().any(|name| source.path.ends_with(name));
    if !source.is("rs") || !inside || own || test {
        return Vec::new();
    }
    // Tests stand at the end of a file.
    let program = source.lines().take_while(|(_, text)| !text.starts_with("#[cfg(test)]"));
    let opens = |(line, text): (usize, &str)| {
        let is_whole = |at: usize| !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let call =
            CALLS.iter().find(|call| text.match_indices(*call).any(|(at, _)| is_whole(at)))?;
        // What the kernel writes is not foreign.
        let of_kernel = ["\"/proc/", "\"/sys/"].iter().any(|start| text.contains(start));
        let message = || format!("`{call}...)` opens by name; `foreign_file` looks first");
        (!of_kernel && !text.trim_start().starts_with("//"))
            .then(|| Finding { line, message: message() })
    };
    program.filter_map(opens).collect()
}

#[cfg(test)]
mod tests {
    use super::super::find_in;

    #[test]
    fn files_that_are_opened_by_name_are_found() {
        let text = "use a;\nlet a = File::open(path)?;\nlet b = fs::read(path)?;\n\
                    fs::read_to_string(\"/proc/self/status\")?;\n// File::open(\n\
                    foreign_file::open(path)?;\nSharedFile::open(pid)?;\n#[cfg(test)]\nFile::open(path);\n";
        assert_eq!(find_in(super::find, "userspace/src/a.rs", text), [2, 3]);
        for elsewhere in ["tests/src/a.rs", "userspace/src/cost.rs", "userspace/src/a.md"] {
            assert_eq!(find_in(super::find, elsewhere, text), [0_usize; 0], "{elsewhere}");
        }
    }
}
