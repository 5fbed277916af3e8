//! Whether a program that was made again is the distributed one.

use std::path::Path;

use symbols::elf::Program;
use symbols::kin::{Identity, same_program};

use crate::build::Build;

const SOURCE: &str = "
    extern \"C\" int answer() { return 42; }
    int main() { return answer(); }
";

fn program(path: &Path) -> Program {
    Program::open(path).unwrap()
}

#[test]
fn the_same_code_under_another_build_id_is_the_same_program() {
    let Some(build) = Build::with(&["g++", "strip"], &[("server.cc", SOURCE)]) else { return };
    let make = |name: &str, id: &str, more: &[&str]| {
        let id = format!("-Wl,--build-id={id}");
        let built = build.compile(&[&["-O1", "-pie", &*id], more].concat(), &["server.cc"]);
        let path = build.path(name);
        std::fs::rename(built, &path).unwrap();
        path
    };
    let rebuilt = make("rebuilt", "0x01020304", &["-g"]);
    let stripped = make("stripped", "0x01020304", &[]);
    build.try_run("strip", &["stripped"]).unwrap();
    let compare = |path: &Path| same_program(&program(&rebuilt), &program(path));
    assert_eq!(compare(&stripped).unwrap(), Identity::BuildId);
    let other_id = make("other-id", "0x0a0b0c0d", &[]);
    assert_eq!(compare(&other_id).unwrap(), Identity::Bytes);
    let other_code = make("other-code", "0x01020304", &["-Danswer=question"]);
    let error = compare(&other_code).unwrap_err().to_string();
    assert!(error.contains("`.dynsym` differ") || error.contains("`.text`"), "{error}");
    let other_text = make("other-text", "0x01020304", &["-fcf-protection=none", "-O0"]);
    let error = compare(&other_text).unwrap_err().to_string();
    assert!(error.contains("`.text`") || error.contains("`.eh_frame`"), "{error}");
}
