//! Refused: other builds, damaged files, things that are no files, ways out of the root.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use symbols::reason::UnresolvedReason;

use crate::lab::{Lab, PROGRAM, assert_found_at, assert_refused, list};

const TOOLS: [&str; 3] = ["gcc", "objcopy", "strip"];

#[test]
fn the_debug_file_of_another_build() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    let debug = lab.install(&[]);
    let other = lab.compile("other", 2, &[]);
    let (_, other_debug) = lab.part(&other, "other-parted");
    let path = lab.build_id_path();
    lab.put(&other_debug, &path);
    let files = lab.find();
    assert_refused(&files, &path, "build-id mismatch");
    let binary = lab.program().build_id_hex().unwrap();
    let found = symbols::elf::Program::open(&other_debug).unwrap().build_id_hex().unwrap();
    assert_eq!(files.reason(), UnresolvedReason::BuildIdMismatch { binary, debug: found });
    assert!(files.hint().contains("version that runs"), "{}", files.hint());

    // A right one further on is still found.
    lab.put(&debug, "/usr/sbin/server.debug");
    assert_found_at(&lab.find(), &lab.inside("/usr/sbin/server.debug"));
}

#[test]
fn a_file_with_another_crc() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    let debug = lab.install(&["-Wl,--build-id=none"]);
    let mut bytes = fs::read(&debug).unwrap();
    bytes.push(0);
    fs::write(lab.inside("/usr/sbin/server.debug"), bytes).unwrap();
    let files = lab.find();
    assert_refused(&files, "/usr/sbin/server.debug", "CRC-32");
    assert!(
        matches!(files.reason(), UnresolvedReason::BuildIdMismatch { .. }),
        "{:?}",
        files.reason()
    );
}

#[test]
fn nothing_there_at_all() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    lab.install(&[]);
    let files = lab.find();
    assert_refused(&files, "/usr/sbin/.debug/server.debug", "not there");
    assert_eq!(files.reason(), UnresolvedReason::Stripped);
    assert!(files.hint().contains("-dbgsym") && files.hint().contains("DEBUGINFOD_URLS"));
}

#[test]
fn a_program_that_nothing_names_a_file_for() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    let whole = lab.compile("whole", 1, &["-Wl,--build-id=none"]);
    lab.put(&whole, PROGRAM);
    lab.run("strip", &[lab.inside(PROGRAM)]);
    let files = lab.find();
    assert!(files.debug.is_none() && files.tried.is_empty(), "{}", list(&files));
    assert_eq!(files.reason(), UnresolvedReason::Stripped);
}

#[test]
fn the_stripped_program_itself() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    lab.install(&[]);
    let path = lab.build_id_path();
    lab.put(&lab.inside(PROGRAM), &path);
    assert_refused(&lab.find(), &path, "no debug information");
}

#[test]
fn a_debug_file_cut_short() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    let debug = lab.install(&[]);
    let (whole, path) = (fs::read(&debug).unwrap(), lab.build_id_path());
    lab.put(&debug, &path);
    for len in [0, 3, 64, 1000, whole.len() / 2, whole.len() - 1] {
        fs::write(lab.inside(&path), &whole[..len]).unwrap();
        assert_refused(&lab.find(), &path, "");
    }
}

#[test]
fn pipes_folders_and_devices_are_not_opened() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    lab.install(&[]);
    let pipe = lab.inside("/usr/sbin/server.debug");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::create_dir_all(lab.inside("/usr/sbin/.debug/server.debug")).unwrap();
    let path = lab.build_id_path();
    fs::create_dir_all(lab.inside(&path).parent().unwrap()).unwrap();
    symlink("/dev/zero", lab.inside(&path)).unwrap();
    let files = lab.find(); // would wait for ever if it opened the pipe
    assert_refused(&files, "/usr/sbin/server.debug", "not a regular file");
    assert_refused(&files, "/.debug/server.debug", "not a regular file");
    assert_refused(&files, &path, "not there"); // the target's root has no /dev
}

#[test]
fn links_do_not_lead_out_of_the_root() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    let debug = lab.install(&[]);
    let outside = lab.path("outside.debug");
    fs::copy(&debug, &outside).unwrap();
    let path = lab.build_id_path();
    let folder = lab.inside(&path).parent().unwrap().to_owned();
    fs::create_dir_all(&folder).unwrap();
    for link in [outside, PathBuf::from("../../../../../../outside.debug")] {
        symlink(&link, lab.inside(&path)).unwrap();
        assert!(fs::read(folder.join(&link)).is_ok(), "the observer can follow `{link:?}`");
        assert_refused(&lab.find(), &path, "not there");
        fs::remove_file(lab.inside(&path)).unwrap();
    }
}
