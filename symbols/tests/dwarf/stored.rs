//! A build whose profile is stored: little of it is read, and what is read must be as it was.

use std::fs;
use std::path::{Path, PathBuf};

use symbols::profile::{Profile, Source};
use symbols::{Error, Options, ProgramPaths, Resolved, resolve};

use crate::build::{Build, profile};

/// Less than any program takes.
const BUDGET: u64 = 1 << 10;

/// A server's dispatch function, and one that only its unwind table knows once it is stripped.
const SOURCE: &str = r#"
extern const char version[] = "5.6.24";
enum enum_server_command { COM_QUERY }; struct THD; unsigned used;
bool dispatch_command(enum_server_command, THD *, char *, unsigned) { return used++; }
int main() { return version[0]; }
"#;

/// How a program and its stored profile are known.
struct Kind {
    flags: &'static [&'static str],
    stripped: bool,
    by_hash: bool,
}

/// A program, and a folder for its stored profile.
fn stored(kind: &Kind) -> Option<(Build, PathBuf, Profile)> {
    let build = Build::with(&["g++", "strip"], &[("main.cc", SOURCE)])?;
    let program = build.compile(&[&["-g"], kind.flags].concat(), &["main.cc"]);
    let mut stored = profile(&program).unwrap();
    // The agent could do without what so small a server lacks.
    stored.missing.clear();
    if kind.stripped {
        build.try_run("strip", &["server"]).unwrap();
    }
    let bytes = fs::read(&program).unwrap();
    stored.binary.size = bytes.len() as u64;
    stored.binary.content_hash = kind.by_hash.then(|| blake3::hash(&bytes).to_hex().to_string());
    fs::create_dir(build.path("profiles")).unwrap();
    store(&build, &stored);
    Some((build, program, stored))
}

fn store(build: &Build, profile: &Profile) {
    let folder = build.path("profiles");
    fs::write(folder.join(format!("{}.json", profile.binary.key())), text(profile)).unwrap();
}

fn text(profile: &Profile) -> Vec<u8> {
    serde_json::to_vec(profile).unwrap()
}

fn resolved(build: &Build, program: &Path, budget: u64) -> Result<Resolved, Error> {
    let options = Options {
        cache_dir: None,
        profile_dirs: vec![build.path("profiles")],
        budget_bytes: Some(budget),
        ..Options::default()
    };
    resolve(&ProgramPaths { program, root: &build.path("") }, &options)
}

#[test]
fn it_is_known_where_there_is_no_room_for_the_program() {
    const ID: &str = "-Wl,--build-id=sha1";
    for kind in [
        Kind { flags: &[ID], stripped: true, by_hash: false },
        Kind { flags: &[ID, "-no-pie"], stripped: true, by_hash: true },
        Kind { flags: &[ID], stripped: false, by_hash: false },
        // The old table alone leads to no name.
        Kind { flags: &[ID, "-Wl,--hash-style=sysv"], stripped: true, by_hash: false },
        Kind { flags: &["-Wl,--build-id=none"], stripped: false, by_hash: true },
        Kind { flags: &["-Wl,--build-id=none"], stripped: true, by_hash: true },
    ] {
        let Some((build, program, stored)) = stored(&kind) else { return };
        let little = resolved(&build, &program, BUDGET).unwrap_or_else(|error| panic!("{error}"));
        assert!(matches!(little.profile.source, Source::Stored { .. }), "{:?}", kind.flags);
        assert_eq!(little.profile.sites, stored.sites);
        // A symbol that the program has elsewhere.
        let mut moved = stored.clone();
        let (_, sites) = moved.sites.iter_mut().next().unwrap();
        sites[0].entry.0 += 1;
        store(&build, &moved);
        let error = resolved(&build, &program, BUDGET).unwrap_err();
        assert!(error.to_string().contains("`_Z16dispatch_command"), "{error}");
    }
}

#[test]
fn another_content_is_refused() {
    let kind = Kind { flags: &["-Wl,--build-id=sha1"], stripped: true, by_hash: true };
    let Some((build, program, _)) = stored(&kind) else { return };
    let mut bytes = fs::read(&program).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&program, &bytes).unwrap();
    let error = resolved(&build, &program, BUDGET).unwrap_err();
    assert!(error.to_string().contains("the hash is"), "{error}");
    bytes.push(0);
    fs::write(&program, bytes).unwrap();
    let error = resolved(&build, &program, BUDGET).unwrap_err();
    assert!(error.to_string().contains("the hash is"), "{error}");
}

/// The build id stands in front, so what is left of a program that was cut short may still state it.
#[test]
fn a_program_that_was_cut_short() {
    let kind = Kind { flags: &["-Wl,--build-id=sha1"], stripped: true, by_hash: false };
    let Some((build, program, stored)) = stored(&kind) else { return };
    let bytes = fs::read(&program).unwrap();
    for cut in (0..bytes.len()).step_by(97) {
        fs::write(&program, &bytes[..cut]).unwrap();
        for budget in [BUDGET, 64 << 20] {
            let error = resolved(&build, &program, budget).map(|found| found.profile).unwrap_err();
            assert!(!matches!(error, Error::Isolated(_)), "{cut}: {error}");
        }
    }
    // The same length, but nothing behind its middle.
    let mut hollow = bytes.clone();
    let half = hollow.len() / 2;
    hollow[half..].fill(0);
    fs::write(&program, &hollow).unwrap();
    assert!(resolved(&build, &program, 64 << 20).is_err());
    assert_eq!(stored.binary.size, bytes.len() as u64);
}

#[test]
fn a_build_that_is_not_stored_names_the_remedy() {
    let kind = Kind { flags: &["-Wl,--build-id=sha1"], stripped: true, by_hash: false };
    let Some((build, program, _)) = stored(&kind) else { return };
    fs::remove_dir_all(build.path("profiles")).unwrap();
    let error = resolved(&build, &program, BUDGET).unwrap_err();
    println!("{error}\nhint: {:?}", error.hint());
    assert!(error.to_string().contains("only a build whose profile is stored"), "{error}");
    assert!(error.hint().unwrap().contains("--profiles"), "{:?}", error.hint());
}
