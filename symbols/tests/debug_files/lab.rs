//! A folder with a target's root in it, and the tools that build programs and their debug files.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use symbols::debug_file::{DebugFiles, SearchOptions, SearchPlace, find};
use symbols::elf::Program;
use tempfile::TempDir;

use crate::common::skip;

/// Something to describe: a bit-field, an inlined function, a global.
/// With an argument it says that it is up, and waits until its input ends.
const SOURCE: &str = "
#include <stdio.h>
struct block { unsigned space; unsigned state : 3 + STATE, fixed : 29 - STATE; void *frame; };
struct block *blocks[4];
static inline unsigned state_of(const struct block *b) { return b->state + STATE; }
__attribute__((noinline)) unsigned page_state(const struct block *b) { return state_of(b); }
int main(int argc, char **argv) { (void)argv; struct block b = {1, 2, 3, 0}; blocks[argc & 3] = &b;
  if (argc > 1) { puts(\"up\"); fflush(stdout); getchar(); }
  return (int)page_state(blocks[argc & 3]); }
";

/// Where the server's program lies inside the target's root.
pub(crate) const PROGRAM: &str = "/usr/sbin/server";

/// A scratch folder; `root` below it is the target's root.
pub(crate) struct Lab {
    dir: TempDir,
}

impl Lab {
    /// A lab with these tools; none, and a counted skip, when one is not installed.
    pub(crate) fn with(tools: &[&str]) -> Option<Self> {
        let missing = |tool: &&&str| Command::new(tool).arg("--version").output().is_err();
        if let Some(tool) = tools.iter().find(missing) {
            skip(&format!("{tool} is not installed"));
            return None;
        }
        let lab = Self { dir: TempDir::with_prefix("debug-files-").expect("scratch folder") };
        fs::create_dir_all(lab.inside("/usr/sbin")).expect("root folder");
        fs::write(lab.path("server.c"), SOURCE).expect("source");
        Some(lab)
    }

    /// `name` beside the target's root.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The target's root.
    pub(crate) fn root(&self) -> PathBuf {
        self.path("root")
    }

    /// `path` of the target as the observer sees it.
    pub(crate) fn inside(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// Runs a tool in the scratch folder.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, tool: &str, args: &[A]) {
        let out = Command::new(tool).args(args).current_dir(self.dir.path()).output();
        let out = out.unwrap_or_else(|e| panic!("{tool} cannot be run: {e}"));
        assert!(out.status.success(), "{tool}: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// Compiles the program as `out`. `state` goes into its code and types, so each
    /// value is another build.
    pub(crate) fn compile(&self, out: &str, state: u32, flags: &[&str]) -> PathBuf {
        let define = format!("-DSTATE={state}");
        let fixed = ["-g", "-O2", "-Wl,--build-id=sha1", &define, "-o", out, "server.c"];
        self.run("gcc", &[&fixed, flags].concat());
        self.path(out)
    }

    /// Parts a program into `out` (stripped, with a debug link to `out.debug`) and `out.debug`.
    pub(crate) fn part(&self, program: &Path, out: &str) -> (PathBuf, PathBuf) {
        let (stripped, debug) = (self.path(out), self.path(&format!("{out}.debug")));
        let text = |path: &Path| path.to_str().expect("scratch paths are text").to_owned();
        self.run("objcopy", &["--only-keep-debug", &text(program), &text(&debug)]);
        self.run("strip", &["-o", &text(&stripped), &text(program)]);
        let link = format!("--add-gnu-debuglink={}", text(&debug));
        self.run("objcopy", &[link, text(&stripped)]);
        (stripped, debug)
    }

    /// Compiles, parts, and puts the stripped program into the target's root.
    /// Returns the debug file, which lies where nobody looks.
    pub(crate) fn install(&self, flags: &[&str]) -> PathBuf {
        let whole = self.compile("whole", 1, flags);
        fs::create_dir_all(self.path("parts")).expect("folder");
        let (stripped, debug) = self.part(&whole, "parts/server");
        fs::rename(stripped, self.inside(PROGRAM)).expect("install");
        debug
    }

    /// The installed program.
    pub(crate) fn program(&self) -> Program {
        Program::open(&self.inside(PROGRAM)).expect("the installed program")
    }

    /// `/usr/lib/debug/.build-id/xx/yyyy.debug` of the installed program.
    pub(crate) fn build_id_path(&self) -> String {
        let id = self.program().build_id_hex().expect("linked with a build id");
        format!("/usr/lib/debug/.build-id/{}/{}.debug", &id[..2], &id[2..])
    }

    /// Copies a file to a path of the target's.
    pub(crate) fn put(&self, file: &Path, path: &str) {
        put(file, &self.inside(path));
    }

    /// Searches for the installed program in the target's root, with the default folders.
    pub(crate) fn find(&self) -> DebugFiles {
        self.find_with(&SearchOptions::default())
    }

    /// As [`Self::find`], with options.
    pub(crate) fn find_with(&self, options: &SearchOptions) -> DebugFiles {
        find(&self.program(), &self.root(), options)
    }
}

/// Copies a file, making the folders on the way.
pub(crate) fn put(file: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("a file path")).expect("folder");
    fs::copy(file, to).expect("copy");
}

/// Asserts that the debug file was found at `path`, and nothing else was believed.
#[track_caller]
pub(crate) fn assert_found_at(files: &DebugFiles, path: &Path) {
    let found = files.debug.as_ref().unwrap_or_else(|| panic!("nothing found:\n{}", list(files)));
    assert_eq!(found.place, SearchPlace::File(path.to_owned()));
    assert!(found.elf.section(".debug_info").expect("readable").is_some());
}

/// Asserts that nothing was found and that the place named `part` was refused with `why` in the
/// text, as a person would read it.
#[track_caller]
pub(crate) fn assert_refused(files: &DebugFiles, part: &str, why: &str) {
    assert!(files.debug.is_none(), "believed:\n{}", list(files));
    let lines = list(files);
    let line = lines.lines().find(|line| line.contains(part) && line.contains(why));
    assert!(line.is_some(), "no line with `{part}` and `{why}` in:\n{lines}");
}

/// Everything tried, one line each.
pub(crate) fn list(files: &DebugFiles) -> String {
    files.tried.iter().map(|attempt| format!("{attempt}\n")).collect()
}
