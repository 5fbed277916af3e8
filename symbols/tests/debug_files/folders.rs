//! Found: in build-id folders and by debug link, below the target's root and the observer's.

use std::fs;
use std::os::unix::fs::symlink;

use symbols::debug_file::SearchOptions;

use crate::lab::{Lab, PROGRAM, assert_found_at, list, put};

const TOOLS: [&str; 3] = ["gcc", "objcopy", "strip"];

#[test]
fn build_id_folder_of_the_target() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    let debug = lab.install(&[]);
    let path = lab.build_id_path();
    lab.put(&debug, &path);
    assert_found_at(&lab.find(), &lab.inside(&path));
}

#[test]
fn debug_link_beside_in_dot_debug_and_in_the_debug_folder() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    let debug = lab.install(&[]);
    let places = ["/usr/lib/debug/usr/sbin/", "/usr/sbin/.debug/", "/usr/sbin/"];
    // From the last place that is looked at to the first, so each hides the one before.
    for place in places {
        let path = format!("{place}server.debug");
        lab.put(&debug, &path);
        assert_found_at(&lab.find(), &lab.inside(&path));
    }
}

#[test]
fn debug_folder_of_the_observer() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    let debug = lab.install(&[]);
    let folder = lab.path("observer");
    let options = SearchOptions { debug_dirs: vec![folder.clone()], ..SearchOptions::default() };
    // In the observer's root the program lies where the observer sees it.
    let seen = lab.inside("/usr/sbin").canonicalize().unwrap();
    let seen_by_observer = folder.join(seen.strip_prefix("/").unwrap()).join("server.debug");
    put(&debug, &seen_by_observer);
    assert_found_at(&lab.find_with(&options), &seen_by_observer);

    let by_id = lab.build_id_path().replace("/usr/lib/debug", "");
    put(&debug, &folder.join(by_id.trim_start_matches('/')));
    assert_found_at(&lab.find_with(&options), &folder.join(by_id.trim_start_matches('/')));
}

#[test]
fn without_a_build_id_the_crc_decides() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    let debug = lab.install(&["-Wl,--build-id=none"]);
    assert_eq!(lab.program().build_id(), None);
    lab.put(&debug, "/usr/sbin/.debug/server.debug");
    assert_found_at(&lab.find(), &lab.inside("/usr/sbin/.debug/server.debug"));
}

#[test]
fn links_lead_to_where_the_target_sees_them() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    let debug = lab.install(&[]);
    let path = lab.build_id_path();
    lab.put(&debug, &path.replace("/usr/lib/debug", "/opt/symbols"));
    fs::create_dir_all(lab.inside("/usr/lib")).unwrap();
    // Absolute: in the observer's root there is no such folder.
    symlink("/opt/symbols", lab.inside("/usr/lib/debug")).unwrap();
    assert_found_at(&lab.find(), &lab.inside(&path));
}

#[test]
fn a_program_with_its_own_dwarf_needs_no_other() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    let whole = lab.compile("whole", 1, &[]);
    lab.put(&whole, PROGRAM);
    let files = lab.find();
    assert!(files.debug.is_none() && files.alt.is_none());
    assert_eq!(list(&files), "");
}
