//! Split DWARF: `.dwo` as compiled and moved, `.dwp`, other builds; DWARF 4 (GNU) and 5.

use std::fs;
use std::path::Path;

use symbols::debug_file::{Attempt, SearchPlace, SplitFile, SplitUnit};
use symbols::elf::Program;

use crate::lab::{Lab, PROGRAM};

/// Finds the split unit of the installed program's only skeleton unit.
fn load(lab: &Lab) -> (Option<SplitFile>, String) {
    let mut files = lab.find();
    assert!(files.debug.is_none(), "skeleton units are DWARF of its own");
    let before = files.tried.len();
    let found = with_skeleton(&lab.program(), |unit| files.dwo.load(&unit, &mut files.tried));
    let line = |attempt: &Attempt| format!("{attempt}\n");
    (found, files.tried[before..].iter().map(line).collect())
}

/// Reads the skeleton unit as the DWARF reader does.
fn with_skeleton<T>(program: &Program, then: impl FnOnce(SplitUnit<'_>) -> T) -> T {
    let section = |id: gimli::SectionId| program.section(id.name()).map(Option::unwrap_or_default);
    let sections = gimli::DwarfSections::load(section).unwrap();
    let dwarf = sections.borrow(|bytes| gimli::EndianSlice::new(bytes, gimli::LittleEndian));
    let mut headers = dwarf.units();
    while let Some(header) = headers.next().unwrap() {
        let unit = dwarf.unit(header).unwrap();
        let Some(id) = unit.dwo_id else { continue };
        let name = unit.dwo_name().unwrap().expect("a name");
        let name = dwarf.attr_string(&unit, name).unwrap().slice();
        let comp_dir = unit.comp_dir.map_or(&[][..], |dir| dir.slice());
        return then(SplitUnit { id, name, comp_dir });
    }
    panic!("no skeleton unit");
}

fn compile(lab: &Lab, version: u32) {
    let version = format!("-gdwarf-{version}");
    let whole = lab.compile("whole", 1, &[&version, "-gsplit-dwarf"]);
    lab.put(&whole, PROGRAM);
}

/// gcc names it after the output and the source.
const DWO: &str = "whole-server.dwo";

#[track_caller]
fn assert_unit_at(lab: &Lab, path: &Path) {
    let (found, lines) = load(lab);
    let Some(SplitFile::Unit(file)) = found else { panic!("not found:\n{lines}") };
    assert_eq!(file.place, SearchPlace::File(path.to_owned()));
    assert!(file.elf.section(".debug_info.dwo").unwrap().is_some());
}

#[test]
fn as_compiled_and_moved_beside_the_program() {
    let Some(lab) = Lab::with(&["gcc"]) else { return };
    for version in [4, 5] {
        compile(&lab, version);
        let compiled = lab.path(DWO).canonicalize().unwrap();
        assert_unit_at(&lab, &compiled);
        let moved = lab.inside("/usr/sbin").join(DWO);
        fs::rename(compiled, &moved).unwrap();
        assert_unit_at(&lab, &moved);
        fs::remove_file(moved).unwrap();
    }
}

#[test]
fn of_another_build() {
    let Some(lab) = Lab::with(&["gcc"]) else { return };
    for version in [4, 5] {
        compile(&lab, version);
        // The same unit of another build, under the same name.
        lab.compile("whole", 2, &[&format!("-gdwarf-{version}"), "-gsplit-dwarf"]);
        let (found, lines) = load(&lab);
        assert!(found.is_none(), "believed:\n{lines}");
        assert!(lines.contains(DWO) && lines.contains("holds no unit 0x"), "{lines}");
    }
}

#[test]
fn cut_short() {
    let Some(lab) = Lab::with(&["gcc"]) else { return };
    compile(&lab, 5);
    let whole = fs::read(lab.path(DWO)).unwrap();
    for len in (0..whole.len()).step_by(97) {
        fs::write(lab.path(DWO), &whole[..len]).unwrap();
        let (found, lines) = load(&lab);
        assert!(found.is_none(), "{len} bytes believed:\n{lines}");
    }
}

#[test]
fn damaged() {
    let Some(lab) = Lab::with(&["gcc"]) else { return };
    for version in [4, 5] {
        compile(&lab, version);
        let whole = fs::read(lab.path(DWO)).unwrap();
        let mut refused = 0;
        for at in (0..whole.len()).step_by(5) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            fs::write(lab.path(DWO), bytes).unwrap();
            // Damage beside what proves the unit is not seen here; it must not end the search.
            refused += usize::from(load(&lab).0.is_none());
        }
        assert!(refused > 0, "no damage was seen");
    }
}

#[test]
fn in_a_package_of_binutils() {
    // Its dwp knows DWARF 4 only.
    assert_in_a_package_of("dwp", &[4]);
}

#[test]
fn in_a_package_of_llvm() {
    assert_in_a_package_of("llvm-dwp", &[4, 5]);
}

#[track_caller]
fn assert_in_a_package_of(tool: &str, versions: &[u32]) {
    let Some(lab) = Lab::with(&["gcc", tool]) else { return };
    for version in versions {
        compile(&lab, *version);
        let package = lab.inside("/usr/sbin/server.dwp");
        lab.run(tool, &[lab.path(DWO), "-o".into(), package.clone()]);
        fs::remove_file(lab.path(DWO)).unwrap();
        let (found, lines) = load(&lab);
        let Some(SplitFile::Package(file)) = found else { panic!("not found:\n{lines}") };
        assert_eq!(file.place, SearchPlace::File(package));
    }
}

#[test]
fn a_package_of_another_build_gives_way_to_the_unit() {
    let Some(lab) = Lab::with(&["gcc", "llvm-dwp"]) else { return };
    lab.compile("whole", 2, &["-gdwarf-5", "-gsplit-dwarf"]);
    let package = lab.inside("/usr/sbin/server.dwp");
    lab.run("llvm-dwp", &[lab.path(DWO), "-o".into(), package]);
    compile(&lab, 5);
    assert_unit_at(&lab, &lab.path(DWO).canonicalize().unwrap());
    let (_, lines) = load(&lab);
    assert!(lines.contains("server.dwp") && lines.contains("holds no unit"), "{lines}");
}
