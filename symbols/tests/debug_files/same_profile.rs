//! However the debug information is kept, the profile is the same as from a program that has it
//! all; and it is not, when a part of it is not found.

use std::fs;
use std::path::PathBuf;

use symbols::Options;
use symbols::debug_file::{Debuginfod, SearchOptions};
use symbols::elf::Program;
use symbols::profile::Profile;
use symbols::role::{FieldRole, Role};

use crate::http::{Answer, Server};
use crate::lab::{Lab, PROGRAM};
use crate::model::{compile, facts, try_facts};

const TOOLS: [&str; 4] = ["gcc", "g++", "objcopy", "strip"];

/// No cache and no environment: nothing but what the test puts there.
fn options() -> Options {
    let debug_files = SearchOptions::default();
    Options { cache_dir: None, debug_files, ..Options::default() }
}

/// Compiles the model, and what its own DWARF says.
fn whole(lab: &Lab, flags: &[&str]) -> (PathBuf, Profile) {
    let whole = compile(lab, "whole", flags);
    let expected = facts(lab, &whole, &options());
    // The model has no lists: with one struct more, llvm-dwp 14 never ends on its units (it loses its way in abbreviations).
    let lengths = [FieldRole::PoolFlushCount, FieldRole::PoolFreeCount, FieldRole::PoolLruCount];
    let lacking: Vec<_> = expected.missing.iter().map(|missing| missing.role.clone()).collect();
    assert_eq!(lacking, lengths.map(Role::Field));
    assert_eq!((expected.sites.len(), expected.fields.len()), (8, 15));
    (whole, expected)
}

/// Parts the model, installs it stripped, and returns its debug file.
fn part(lab: &Lab, whole: &std::path::Path) -> PathBuf {
    let (stripped, debug) = lab.part(whole, "server");
    lab.put(&stripped, PROGRAM);
    assert!(try_facts(lab, &lab.inside(PROGRAM), &options()).is_err(), "stripped, yet resolved");
    debug
}

#[track_caller]
fn assert_same(lab: &Lab, expected: &Profile, options: &Options) {
    assert_eq!(&facts(lab, &lab.inside(PROGRAM), options), expected);
}

/// True when the installed program has no complete profile.
fn falls_short(lab: &Lab) -> bool {
    try_facts(lab, &lab.inside(PROGRAM), &options()).map_or(true, |p| !p.missing.is_empty())
}

fn by_id(file: &std::path::Path) -> String {
    Program::open(file).unwrap().build_id_hex().expect("linked with a build id")
}

#[test]
fn by_build_id_folder() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    for version in ["-gdwarf-2", "-gdwarf-3", "-gdwarf-4", "-gdwarf-5"] {
        let (program, expected) = whole(&lab, &[version]);
        let debug = part(&lab, &program);
        lab.put(&debug, &lab.build_id_path());
        assert_same(&lab, &expected, &options());
    }
}

#[test]
fn compressed() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    let (program, expected) = whole(&lab, &[]);
    let debug = part(&lab, &program);
    lab.run("objcopy", &["--compress-debug-sections=zlib".as_ref(), debug.as_os_str()]);
    lab.put(&debug, &lab.build_id_path());
    assert_same(&lab, &expected, &options());
}

#[test]
fn over_dwz() {
    let Some(lab) = Lab::with(&[&TOOLS[..], &["dwz"]].concat()) else { return };
    let (program, expected) = whole(&lab, &[]);
    let debug = part(&lab, &program);
    // A second debug file with the same types makes them worth sharing.
    let twin = lab.path("twin.debug");
    fs::copy(&debug, &twin).unwrap();
    let shared = lab.path("shared.dwz");
    let args = [&"-m".into(), &shared, &"-M".into(), &"/dwz/shared".into(), &debug, &twin];
    lab.run("dwz", &args);
    assert!(fs::metadata(&shared).unwrap().len() > 1000, "dwz moved nothing");
    lab.put(&debug, &lab.build_id_path());
    assert!(falls_short(&lab), "the profile does not need the alternate");
    lab.put(&shared, "/dwz/shared");
    assert_same(&lab, &expected, &options());
}

#[test]
fn over_split_units_and_packages() {
    let Some(lab) = Lab::with(&[&TOOLS[..], &["llvm-dwp"]].concat()) else { return };
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        let (_, expected) = whole(&lab, &[version]);
        let split = compile(&lab, "split", &[version, "-gsplit-dwarf"]);
        lab.put(&split, PROGRAM);
        assert_same(&lab, &expected, &options());

        let units = ["buf0buf.dwo", "sql_parse.dwo"].map(|name| lab.path(name));
        let package = lab.inside("/usr/sbin/server.dwp");
        lab.run("llvm-dwp", &[&units[0], &units[1], &"-o".into(), &package]);
        units.iter().for_each(|unit| fs::remove_file(unit).unwrap());
        assert_same(&lab, &expected, &options());

        fs::remove_file(package).unwrap();
        assert!(falls_short(&lab), "the profile does not need the split units");
    }
}

#[test]
fn split_units_of_a_stripped_program() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    let (_, expected) = whole(&lab, &[]);
    let split = compile(&lab, "split", &["-gsplit-dwarf"]);
    let debug = part(&lab, &split);
    lab.put(&debug, &lab.build_id_path());
    assert_same(&lab, &expected, &options());
}

#[test]
fn over_debuginfod_with_an_alternate() {
    let Some(lab) = Lab::with(&[&TOOLS[..], &["dwz"]].concat()) else { return };
    let (program, expected) = whole(&lab, &[]);
    let debug = part(&lab, &program);
    let twin = lab.path("twin.debug");
    fs::copy(&debug, &twin).unwrap();
    let shared = lab.path("shared.dwz");
    let args = [&"-m".into(), &shared, &"-M".into(), &"/nowhere".into(), &debug, &twin];
    lab.run("dwz", &args);
    let files = [&debug, &shared].map(|file| (by_id(file), fs::read(file).unwrap()));
    let server = Server::start(Answer::ByBuild(files.to_vec()));
    let mut options = options();
    let urls = vec![server.url.clone()];
    options.debug_files.debuginfod = Debuginfod { urls, ..Debuginfod::default() };
    assert_same(&lab, &expected, &options);
    assert_eq!(server.requests().len(), 2, "{:?}", server.requests());
}
