//! `poolferry-host keygen`, and key files that none of the programs takes.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::program::Program;
use crate::qemu::{Place, Vm, newest};

fn program(arguments: &[&str], files: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_poolferry-host"));
    command.args(arguments).args(files).output().unwrap()
}

fn output_of(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

/// `receive` and `migrate` with this key, as far as they get: no QEMU is there.
fn both(place: &Place, key: &Path) -> [Output; 2] {
    let none = place.path("none.qmp");
    let receive =
        ["receive", "--listen", "127.0.0.1:0", "--migration-address", "127.0.0.1", "--qmp"];
    [program(&receive, &[&none, Path::new("--key"), key]), migrate(&none, key)]
}

fn migrate(qmp: &Path, key: &Path) -> Output {
    let migrate = ["migrate", "--to", "127.0.0.1:1", "--agent", "/none", "--qmp"];
    program(&migrate, &[qmp, Path::new("--key"), key])
}

/// As in README: the key that `keygen` makes is taken by both ends.
#[test]
fn a_key_that_keygen_made_is_taken() {
    let place = Place::new();
    let path = place.path("vm.key");
    let made = program(&["keygen"], &[&path]);
    assert!(made.status.success(), "{}", output_of(&made));
    assert!(output_of(&made).contains("scp -p"), "{}", output_of(&made));
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.len()), (0o600, 32));
    let before = fs::read(&path).unwrap();
    let again = program(&["keygen"], &[&path]);
    assert!(!again.status.success() && output_of(&again).contains("never overwritten"));
    assert!(
        output_of(&again).lines().any(|line| line.starts_with("hint: ")),
        "{}",
        output_of(&again)
    );
    assert_eq!(fs::read(&path).unwrap(), before);
    let key = ["--key", path.to_str().unwrap()];
    Program::start(&place.path("none.qmp"), &key).port();
    // Past the key, `migrate` misses QEMU.
    let migrated = migrate(&place.path("none.qmp"), &path);
    assert!(output_of(&migrated).contains("none.qmp"), "{}", output_of(&migrated));
}

/// It needs no QEMU, so what is wrong with it is reported even where there is none, and the fault before the remedy.
#[test]
fn doctor_tells_of_the_key_without_a_qemu() {
    let place = Place::new();
    let key = place.path("vm.key");
    fs::write(&key, [7; 32]).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let none = place.path("none.qmp");
    let text = program(&["doctor", "--qmp"], &[&none, Path::new("--key"), &key]);
    let text = output_of(&text);
    assert!(!text.is_empty() && text.contains("vm.key") && text.contains("FAIL"), "{text}");
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no `{what}` in {text}"));
    assert!(at("error: failed to connect") < at("hint: "), "{text}");
}

/// Each with what it says of it.
fn bad(place: &Place) -> Vec<(PathBuf, &'static str)> {
    let file = |name: &str, mode: u32| {
        let path = place.path(name);
        fs::write(&path, [7; 32]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let link = place.path("link");
    symlink(file("behind", 0o600), &link).unwrap();
    let mut bad = vec![
        (file("open", 0o644), "mode 0644"),
        (link, "symbolic link"),
        (place.path("missing"), "keygen"),
        (file("equal", 0o600), "1 different bytes of 32"),
    ];
    let others = file("others", 0o600);
    // Only root can give a file away.
    if chown(&others, Some(4711), None).is_ok() {
        bad.push((others, "user 4711"));
    }
    bad
}

#[test]
fn a_key_of_others_is_refused_at_the_start() {
    let place = Place::new();
    for (path, word) in bad(&place) {
        for output in both(&place, &path) {
            let output_of = output_of(&output);
            assert!(!output.status.success() && output_of.contains(word), "{word}: {output_of}");
            assert!(output_of.contains("hint: "), "{output_of}");
            assert!(
                !output_of.contains("listening") && !output_of.contains("none.qmp"),
                "first the key: {output_of}"
            );
        }
    }
}

#[test]
fn doctor_looks_at_the_key() {
    let Some(qemu) = newest("doctor_looks_at_the_key") else { return };
    let place = Place::new();
    let vm = Vm::destination(&qemu, &place, None, &[]);
    for (path, word) in bad(&place) {
        let output = program(&["doctor", "--qmp"], &[&vm.socket, Path::new("--key"), &path]);
        let output_of = output_of(&output);
        assert!(!output.status.success() && output_of.contains(word), "{word}: {output_of}");
    }
    let good = place.path("good");
    assert!(program(&["keygen"], &[&good]).status.success());
    let output = program(&["doctor", "--qmp"], &[&vm.socket, Path::new("--key"), &good]);
    assert!(output_of(&output).contains("is valid and private"), "{}", output_of(&output));
}
