//! The real MySQL 5.6.24 (no build id, DWARF 2, 78 MB): parted, stripped, shrunk by dwz, its
//! profile stays the same.

use std::fs;
use std::path::{Path, PathBuf};

use symbols::debug_file::SearchOptions;
use symbols::reason::UnresolvedReason;
use symbols::{Error, Options};

use crate::common::skip;
use crate::lab::{Lab, PROGRAM, list};
use crate::model::{facts, try_facts};

/// Names the server's program; the project's test command sets it.
const VARIABLE: &str = "POOLFERRY_MYSQL56";

/// The server, and a lab with it installed stripped; also its debug file.
fn parted(tools: &[&str]) -> Option<(Lab, PathBuf, PathBuf)> {
    let Some(server) = std::env::var_os(VARIABLE).map(PathBuf::from) else {
        skip(&format!("{VARIABLE} does not name a MySQL 5.6 server"));
        return None;
    };
    let lab = Lab::with(tools)?;
    let (stripped, debug) = lab.part(&server, "server");
    fs::rename(stripped, lab.inside(PROGRAM)).unwrap();
    Some((lab, server, debug))
}

fn options() -> Options {
    let debug_files = SearchOptions::default();
    Options { cache_dir: None, debug_files, ..Options::default() }
}

fn same_facts(lab: &Lab, program: &Path) -> symbols::Profile {
    facts(lab, program, &options())
}

#[test]
fn by_debug_link_and_crc() {
    let Some((lab, server, debug)) = parted(&["objcopy", "strip"]) else { return };
    lab.put(&debug, "/usr/sbin/.debug/server.debug");
    assert_eq!(same_facts(&lab, &lab.inside(PROGRAM)), same_facts(&lab, &server));
}

#[test]
fn another_crc_is_refused() {
    let Some((lab, _, debug)) = parted(&["objcopy", "strip"]) else { return };
    let mut bytes = fs::read(&debug).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(lab.inside("/usr/sbin/server.debug"), bytes).unwrap();
    let files = lab.find();
    assert!(files.debug.is_none(), "{}", list(&files));
    match try_facts(&lab, &lab.inside(PROGRAM), &options()) {
        Err(Error::NoDebugInfo(missing)) => {
            assert!(
                matches!(missing.reason, UnresolvedReason::BuildIdMismatch { .. }),
                "{missing}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn shrunk_by_dwz() {
    let Some((lab, server, debug)) = parted(&["objcopy", "strip", "dwz"]) else { return };
    // The same build twice shares all that can be shared.
    let (twin, shared) = (lab.path("twin.debug"), lab.path("shared.dwz"));
    fs::copy(&debug, &twin).unwrap();
    let before = fs::metadata(&debug).unwrap().len();
    // No limit on the entries of a file (-l, -L): the default skips one of this size.
    let limits = ["-l", "none", "-L", "none", "-m"].map(PathBuf::from);
    let files = [shared.clone(), "-M".into(), "/dwz/shared".into(), debug.clone(), twin];
    lab.run("dwz", &[&limits[..], &files].concat());
    assert!(fs::metadata(&debug).unwrap().len() < before / 2, "dwz moved little");
    // dwz rewrote the file that the link was made for.
    let link = format!("--add-gnu-debuglink={}", debug.display());
    let program = lab.inside(PROGRAM).display().to_string();
    lab.run("objcopy", &["--remove-section=.gnu_debuglink", &program]);
    lab.run("objcopy", &[&link, &program]);
    lab.put(&debug, "/usr/sbin/.debug/server.debug");
    lab.put(&shared, "/dwz/shared");
    assert_eq!(same_facts(&lab, &lab.inside(PROGRAM)), same_facts(&lab, &server));
}
