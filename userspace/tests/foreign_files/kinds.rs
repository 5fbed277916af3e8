//! What kind of debug information there is, and that it is read as it would be here.

use std::path::PathBuf;
use std::process::Command;

use symbols::isolated::Isolation;
use symbols::profile::Source;
use symbols::reason::UnresolvedReason;
use symbols::{Error, Options};
use test_servers::command;

use crate::lab::{Lab, POOLFERRY, options, resolve};

fn isolated() -> Options {
    options(Isolation::by(PathBuf::from(POOLFERRY)))
}

/// Whether a program has a profile, and else why not; the other process says the same as this one.
fn kind(lab: &Lab) -> Result<(), UnresolvedReason> {
    let (there, here) = (isolated(), Options { isolation: None, ..isolated() });
    let (there, here) = (resolve(&lab.program(), &there), resolve(&lab.program(), &here));
    match (there, here) {
        (Ok(there), Ok(here)) => {
            assert_eq!(there.profile, here.profile);
            Ok(())
        }
        (Err(there), Err(here)) => {
            println!("{there}\nhint: {:?}", there.hint());
            assert_eq!((there.to_string(), there.hint()), (here.to_string(), here.hint()));
            let (Error::NoDebugInfo(there), Error::NoDebugInfo(here)) = (there, here) else {
                panic!("another error")
            };
            let text = |tried: &[symbols::debug_file::Attempt]| {
                tried.iter().map(ToString::to_string).collect::<Vec<_>>()
            };
            assert_eq!(text(&there.tried), text(&here.tried));
            Err(there.reason)
        }
        (there, here) => panic!("{there:?}\n{here:?}"),
    }
}

#[test]
fn all_of_it() {
    let Some(lab) = Lab::with("all_of_it", &["-g"]) else { return };
    assert_eq!(kind(&lab), Ok(()));
}

#[test]
fn none() {
    let Some(lab) = Lab::with("none", &["-s"]) else { return };
    assert_eq!(kind(&lab), Err(UnresolvedReason::Stripped));
}

/// Little of it is read: there may be no room for all of it.
#[test]
fn of_a_stored_build() {
    let flags = ["-g", "-Wl,--build-id=sha1"];
    let Some(lab) = Lab::with("of_a_stored_build", &flags) else { return };
    let mut stored = resolve(&lab.program(), &isolated()).unwrap().profile;
    // The agent could do without what so small a server lacks.
    stored.missing.clear();
    let id = stored.binary.build_id.clone().unwrap();
    let text = serde_json::to_vec(&stored).unwrap();
    std::fs::write(lab.path(&format!("{id}.json")), text).unwrap();
    let little =
        Options { profile_dirs: vec![lab.path("")], budget_bytes: Some(1 << 10), ..isolated() };
    let there = resolve(&lab.program(), &little).unwrap().profile;
    assert!(matches!(there.source, Source::Stored { .. }), "{:?}", there.source);
    let here = Options { isolation: None, ..little.clone() };
    assert_eq!(resolve(&lab.program(), &here).unwrap().profile, there);
    // Of another program, the same text is refused by the process that reads it.
    let mut bytes = std::fs::read(lab.program()).unwrap();
    bytes.extend_from_slice(&[0; 8]);
    std::fs::write(lab.program(), bytes).unwrap();
    let error = resolve(&lab.program(), &little).unwrap_err();
    assert!(error.to_string().contains("does not fit"), "{error}");
}

/// As MySQL's own archives are built since 8.0.27 (`MINIMAL_RELWITHDEBINFO`).
#[test]
fn lines_only() {
    let Some(lab) = Lab::with("lines_only", &["-g1"]) else { return };
    assert_eq!(kind(&lab), Err(UnresolvedReason::LinesOnly));
    let outcome = lab.look(&lab.program());
    assert!(outcome.errors.contains("lines only (-g1)"), "{}", outcome.errors);
    assert!(outcome.errors.contains("--profiles"), "{}", outcome.errors);
    assert!(!outcome.errors.contains("BUF_BLOCK_FILE_PAGE"), "{}", outcome.errors);
}

#[test]
fn split_without_its_files() {
    // All files of one compilation are named after its output.
    let flags = ["-g", "-gsplit-dwarf"];
    let Some(lab) = Lab::with("split_without_its_files", &flags) else { return };
    let rename = |lab: &Lab| {
        for file in std::fs::read_dir(lab.path("")).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|ext| ext == "dwo") {
                std::fs::remove_file(path).unwrap();
            }
        }
    };
    rename(&lab);
    assert_eq!(kind(&lab), Err(UnresolvedReason::SplitUnitsMissing));
}

/// The little in the program does not hide the whole in a file beside it.
#[test]
fn lines_only_with_a_full_debug_file() {
    let flags = ["-g", "-Wl,--build-id=sha1", "-Wl,--build-id=0xabcdef0123456789"];
    let Some(lab) = Lab::with("lines_only_with_a_full_debug_file", &flags) else { return };
    if !command::exists("objcopy") {
        return;
    }
    let debug = lab.path("dbg/.build-id/ab/cdef0123456789.debug");
    std::fs::create_dir_all(debug.parent().unwrap()).unwrap();
    let run = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        assert!(command.args(args).current_dir(lab.path("")).status().unwrap().success());
    };
    run("objcopy", &["--only-keep-debug", "mysqld", debug.to_str().unwrap()]);
    run("g++", &["-rdynamic", "-g1", flags[2], "-o", "mysqld", "model.cc"]);
    let mut options = isolated();
    options.debug_files.debug_dirs = vec![lab.path("dbg")];
    let resolved = resolve(&lab.program(), &options).unwrap();
    let source = format!("{:?}", resolved.profile.source);
    assert!(source.contains("cdef0123456789.debug"), "{source}");
}
