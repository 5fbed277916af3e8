//! Compressed sections read the same as plain ones.

use std::path::Path;
use std::process::Command;

use symbols::elf::Program;

use crate::common::skip;
use crate::lab::Lab;

#[test]
fn zlib() {
    assert_read_when_packed_with("zlib");
}

#[test]
fn zstd() {
    assert_read_when_packed_with("zstd");
}

#[test]
fn zlib_in_the_old_gnu_form() {
    assert_read_when_packed_with("zlib-gnu");
}

#[track_caller]
fn assert_read_when_packed_with(kind: &str) {
    let Some(lab) = Lab::with(&["gcc", "objcopy"]) else { return };
    let (plain, packed) = (lab.compile("plain", 1, &[]), lab.path("packed"));
    let option = format!("--compress-debug-sections={kind}");
    let status = Command::new("objcopy").arg(option).args([&plain, &packed]).status().unwrap();
    if !status.success() {
        return skip(&format!("this objcopy cannot compress with {kind}"));
    }
    assert_same_sections(&plain, &packed, kind);
}

#[test]
fn as_the_compiler_writes_them() {
    let Some(lab) = Lab::with(&["gcc"]) else { return };
    // The option itself must not stand in the producer string.
    let quiet = "-gno-record-gcc-switches";
    let plain = lab.compile("plain", 1, &[quiet]);
    let packed = lab.compile("packed", 1, &[quiet, "-gz=zlib"]);
    assert_same_sections(&plain, &packed, "gcc -gz=zlib");
}

#[track_caller]
fn assert_same_sections(plain: &Path, packed: &Path, kind: &str) {
    let (plain, packed) = (Program::open(plain).unwrap(), Program::open(packed).unwrap());
    let on_file = |program: &Program| program.bytes().len();
    assert!(on_file(&packed) != on_file(&plain), "{kind}: nothing was compressed");
    for name in [".debug_info", ".debug_abbrev", ".debug_line", ".debug_str"] {
        let expected = plain.section(name).unwrap().expect(name);
        assert_eq!(packed.section(name).unwrap().expect(name), expected, "{kind}: {name}");
    }
}
