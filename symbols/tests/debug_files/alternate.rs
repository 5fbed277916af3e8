//! dwz alternates: relative and absolute links, build-id folders, other builds.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use symbols::debug_file::{DebugFiles, SearchPlace, WantedFile};
use symbols::elf::Program;

use crate::lab::{Lab, PROGRAM, list};

const TOOLS: [&str; 4] = ["gcc", "objcopy", "strip", "dwz"];

/// Two programs whose debug files share `shared.dwz`, which they name as `name`.
/// Returns the debug file of the installed one, and the shared file.
fn share(lab: &Lab, name: &str) -> (PathBuf, PathBuf) {
    let debug = lab.install(&[]);
    let second = lab.compile("second", 2, &[]);
    let (_, second_debug) = lab.part(&second, "parts/second");
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let shared = lab.path("shared.dwz");
    lab.run("dwz", &["-m", &text(&shared), "-M", name, &text(&debug), &text(&second_debug)]);
    (debug, shared)
}

#[track_caller]
fn assert_alternate_at(files: &DebugFiles, path: &std::path::Path) {
    assert!(files.debug.is_some(), "{}", list(files));
    let alt = files.alt.as_ref().unwrap_or_else(|| panic!("no alternate:\n{}", list(files)));
    assert_eq!(alt.place, SearchPlace::File(path.to_owned()));
}

#[test]
fn absolute_below_the_targets_root() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    let (debug, shared) = share(&lab, "/usr/lib/debug/.dwz/shared");
    lab.put(&debug, &lab.build_id_path());
    lab.put(&shared, "/usr/lib/debug/.dwz/shared");
    assert_alternate_at(&lab.find(), &lab.inside("/usr/lib/debug/.dwz/shared"));
}

#[test]
fn relative_to_the_debug_file() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    let (debug, shared) = share(&lab, "../shared");
    lab.put(&debug, "/usr/sbin/.debug/server.debug");
    lab.put(&shared, "/usr/sbin/shared");
    assert_alternate_at(&lab.find(), &lab.inside("/usr/sbin/.debug/../shared"));
}

#[test]
fn relative_to_where_the_debug_file_really_lies() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    let (debug, shared) = share(&lab, "shared");
    lab.put(&debug, "/opt/symbols/server.debug");
    lab.put(&shared, "/opt/symbols/shared");
    let by_id = lab.inside(&lab.build_id_path());
    fs::create_dir_all(by_id.parent().unwrap()).unwrap();
    symlink("/opt/symbols/server.debug", by_id).unwrap();
    assert_alternate_at(&lab.find(), &lab.inside("/opt/symbols/shared"));
}

#[test]
fn in_a_build_id_folder() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    let (debug, shared) = share(&lab, "/nowhere/shared");
    lab.put(&debug, &lab.build_id_path());
    let id = Program::open(&shared).unwrap().build_id_hex().expect("dwz writes one");
    let path = format!("/usr/lib/debug/.build-id/{}/{}.debug", &id[..2], &id[2..]);
    lab.put(&shared, &path);
    assert_alternate_at(&lab.find(), &lab.inside(&path));
}

#[test]
fn of_a_program_that_was_not_parted() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    let (whole, second) = (lab.compile("whole", 1, &[]), lab.compile("second", 2, &[]));
    let shared = lab.inside("/usr/sbin/shared");
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    lab.run("dwz", &["-m", &text(&shared), "-M", "shared", &text(&whole), &text(&second)]);
    lab.put(&whole, PROGRAM);
    let files = lab.find();
    assert!(files.debug.is_none());
    assert_eq!(files.alt.expect("beside the program").place, SearchPlace::File(shared));
}

#[test]
fn of_another_build() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    let (debug, _) = share(&lab, "/usr/lib/debug/.dwz/shared");
    lab.put(&debug, &lab.build_id_path());
    let other = lab.compile("other", 3, &[]);
    lab.put(&other, "/usr/lib/debug/.dwz/shared");
    let files = lab.find();
    assert!(files.debug.is_some() && files.alt.is_none(), "{}", list(&files));
    let refused = |line: &str| line.starts_with("dwz alternate") && line.contains("mismatch");
    assert!(list(&files).lines().any(refused), "{}", list(&files));
    assert!(files.tried.iter().any(|a| a.wanted == WantedFile::Alternate && a.outcome.is_err()));
}
