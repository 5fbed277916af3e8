//! Lists of the names of stripped programs: made ones, and those of Debian's MariaDB.

#![expect(clippy::print_stdout, reason = "what was compared stands in the tests' output")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as their tests do")]

use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use symbols::debug_file::SearchOptions;
use symbols::elf::Program;
use symbols::profile::{Profile, Source};
use symbols::symbol_list::{MAX_BYTES, SymbolList, SymbolListError, SymbolListUse};
use symbols::{Options, ProgramPaths, resolve};
use tempfile::TempDir;
use test_servers::{Release, command, skipped};

/// Where Debian's package has the list, below a root.
const PLACE: &str = "usr/share/doc/mariadb-server/mariadbd.sym.gz";

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A stripped program that exports some functions, and `nm` of it before it was stripped.
struct Made {
    dir: TempDir,
    text: Vec<u8>,
}

impl Made {
    fn new(test: &str) -> Option<Self> {
        for tool in ["g++", "nm", "strip"] {
            if !command::exists(tool) {
                skipped(test, format!("`{tool}` is not installed"));
                return None;
            }
        }
        let dir = TempDir::with_prefix("symbol-list-").unwrap();
        let mut source = String::from("static int hidden = 7;\n");
        for number in 0..40 {
            source += &format!("extern \"C\" int f{number}() {{ return hidden += {number}; }}\n");
        }
        source += "int main() { return hidden; }\n";
        fs::write(dir.path().join("main.cc"), source).unwrap();
        let run = |tool: &str, args: &[&str]| {
            let out = Command::new(tool).args(args).current_dir(dir.path()).output().unwrap();
            assert!(out.status.success(), "{tool}: {}", String::from_utf8_lossy(&out.stderr));
            out.stdout
        };
        run("g++", &["-rdynamic", "-o", "server", "main.cc"]);
        let text = run("nm", &["server"]);
        run("strip", &["server"]);
        Some(Self { dir, text })
    }

    fn program(&self) -> Program {
        Program::open(&self.dir.path().join("server")).unwrap()
    }

    fn read(&self, list: &[u8]) -> Result<SymbolList, SymbolListError> {
        SymbolList::read(list, &self.program(), &["_ZL6hidden", "f7", "nothing"])
    }

    #[track_caller]
    fn refused(&self, list: &[u8]) -> SymbolListError {
        let error = self.read(list).unwrap_err();
        println!("{error}");
        error
    }
}

#[test]
fn its_own_list_names_what_is_not_exported() {
    let Some(made) = Made::new("its_own_list_names_what_is_not_exported") else { return };
    let list = made.read(&gzip(&made.text)).unwrap();
    assert!(list.agreed >= 41, "{}", list.agreed);
    assert_eq!(list.get("_ZL6hidden").len(), 1);
    assert_eq!(list.get("f7").len(), 1);
    assert_eq!(list.get("nothing"), []);
    assert_eq!(list.get("f8"), [], "nobody asked");
    // A name of several sources has all of its places.
    let more = [&made.text[..], b"0000000000000042 t f7\n"].concat();
    assert_eq!(made.read(&gzip(&more)).unwrap().get("f7").len(), 2);
}

#[test]
fn the_list_of_another_build_is_refused() {
    let Some(made) = Made::new("the_list_of_another_build_is_refused") else { return };
    let text = String::from_utf8(made.text.clone()).unwrap();
    // One function is elsewhere.
    let line = text.lines().find(|line| line.ends_with(" f7")).unwrap();
    let other = text.replace(line, "0000000000000042 T f7");
    let error = made.refused(&gzip(other.as_bytes()));
    assert!(
        matches!(error, SymbolListError::OtherBuild { agree, of } if agree + 1 == of && of > 40),
        "{error}"
    );
    // One is not there, and none is.
    let error = made.refused(&gzip(text.replace(&format!("{line}\n"), "").as_bytes()));
    assert!(matches!(error, SymbolListError::OtherBuild { .. }), "{error}");
    let error = made.refused(&gzip(b""));
    assert!(matches!(error, SymbolListError::OtherBuild { agree: 0, .. }), "{error}");
}

#[test]
fn what_is_no_list_is_refused() {
    let Some(made) = Made::new("what_is_no_list_is_refused") else { return };
    // Not gzip; cut short; damaged.
    let good = gzip(&made.text);
    assert!(matches!(made.refused(&made.text), SymbolListError::Broken(_)));
    assert!(matches!(made.refused(b""), SymbolListError::Broken(_)));
    for cut in [good.len() - 1, good.len() / 2, 12, 1] {
        assert!(matches!(made.refused(&good[..cut]), SymbolListError::Broken(_)), "{cut}");
    }
    let mut bad = good.clone();
    let last = bad.len() - 5;
    bad[last] ^= 1;
    assert!(matches!(made.refused(&bad), SymbolListError::Broken(_)), "another CRC");
    // Wrong lines.
    let lines = made.text.iter().filter(|byte| **byte == b'\n').count();
    for wrong in ["f7", "0000000000001139 T", "0000000000001139 T \u{1b}[2J", "", "x"] {
        let text = [&made.text[..], wrong.as_bytes(), b"\n"].concat();
        let error = made.refused(&gzip(&text));
        assert!(
            matches!(error, SymbolListError::Line { number } if number == lines + 1),
            "{wrong}: {error}"
        );
    }
    let endless = [b"0000000000001139 T ".to_vec(), vec![b'f'; 1 << 20]].concat();
    assert!(matches!(made.refused(&gzip(&endless)), SymbolListError::Line { number: 1 }));
}

/// A megabyte of it is a gigabyte.
#[test]
fn a_list_of_a_gigabyte_is_read_to_a_bound() {
    let Some(made) = Made::new("a_list_of_a_gigabyte_is_read_to_a_bound") else { return };
    let line = [b"0000000000001139 T ".to_vec(), vec![b'f'; 8 << 10], b"\n".to_vec()].concat();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // What is behind the bound is never read, so it need not be made.
    let lines = MAX_BYTES / line.len() as u64 + 100;
    for _ in 0..lines {
        encoder.write_all(&line).unwrap();
    }
    let list = encoder.finish().unwrap();
    let peak = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    };
    let (before, start) = (peak(), Instant::now());
    let error = made.refused(&list);
    assert!(matches!(error, SymbolListError::TooLong { limit } if limit == MAX_BYTES), "{error}");
    println!("{} bytes of list in {:?}", list.len(), start.elapsed());
    assert!(peak() - before < 16 << 20, "{} bytes", peak() - before);
    assert!(start.elapsed() < Duration::from_secs(60));
}

/// A MariaDB of Debian and its list; none, and a counted skip, where the packages are not to be had.
fn real(test: &str, release: Release) -> Option<(PathBuf, PathBuf)> {
    let found = release.installed().and_then(|found| Ok((found.program, release.symbol_list()?)));
    found.inspect_err(|error| skipped(test, format!("{error:#}"))).ok()
}

/// A root with a list in it.
fn root_with(list: &Path) -> TempDir {
    let root = TempDir::with_prefix("symbol-list-").unwrap();
    let place = root.path().join(PLACE);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::copy(list, &place).unwrap();
    fs::set_permissions(&place, Permissions::from_mode(0o644)).unwrap();
    root
}

fn profile(program: &Path, root: &Path) -> Profile {
    let options = Options {
        cache_dir: None,
        debug_files: SearchOptions { debug_dirs: Vec::new(), ..SearchOptions::default() },
        ..Options::default()
    };
    resolve(&ProgramPaths { program, root }, &options).unwrap().profile
}

fn used(profile: &Profile) -> &SymbolListUse {
    match &profile.source {
        Source::Kin { symbol_list, .. } => symbol_list,
        other => panic!("{other:?}"),
    }
}

#[test]
fn lists_of_mariadb_are_of_one_build_each() {
    const TEST: &str = "lists_of_mariadb_are_of_one_build_each";
    let Some((one, list_of_one)) = real(TEST, Release::Mariadb) else { return };
    let Some((other, list_of_other)) = real(TEST, Release::MariadbSecurity) else { return };
    let names = ["buf_pool", "_ZN10buf_page_t13read_completeERK10fil_node_t"];
    let read = |program: &Path, list: &Path| {
        let program = Program::open(program).unwrap();
        SymbolList::read(File::open(list).unwrap(), &program, &names)
    };
    for (program, own, strange) in
        [(&one, &list_of_one, &list_of_other), (&other, &list_of_other, &list_of_one)]
    {
        let start = Instant::now();
        let list = read(program, own).unwrap();
        println!("{program:?}: {} symbols agree, in {:?}", list.agreed, start.elapsed());
        assert!(list.agreed > 25_000, "{}", list.agreed);
        assert!(names.iter().all(|name| list.get(name).len() == 1));
        let error = read(program, strange).unwrap_err();
        println!("{error}");
        assert!(matches!(error, SymbolListError::OtherBuild { .. }), "{error}");
    }
}

/// The security update has no profile of its own: what is found by its code is what its list says.
#[test]
fn a_kin_build_agrees_with_its_list() {
    const TEST: &str = "a_kin_build_agrees_with_its_list";
    let Some((program, list)) = real(TEST, Release::MariadbSecurity) else { return };
    let nowhere = TempDir::new().unwrap();
    let without = profile(&program, nowhere.path());
    assert_eq!(used(&without), &SymbolListUse::Absent);
    let root = root_with(&list);
    let with = profile(&program, root.path());
    let agreed = matches!(used(&with), SymbolListUse::Agreed { symbols } if *symbols > 25_000);
    assert!(agreed, "{:?}", used(&with));
    assert_eq!((&with.sites, &with.globals), (&without.sites, &without.globals));
    println!("{:?}", with.missing);
    // One that strangers may write, and one of another build: as without one, and told.
    let reported = |root: &TempDir| match used(&profile(&program, root.path())) {
        SymbolListUse::Unused { why } => why.clone(),
        other => panic!("{other:?}"),
    };
    let place = root.path().join(PLACE);
    fs::set_permissions(&place, Permissions::from_mode(0o666)).unwrap();
    let why = reported(&root);
    assert!(why.contains("may be written by others"), "{why}");
    fs::set_permissions(&place, Permissions::from_mode(0o644)).unwrap();
    if let Some((_, of_another)) = real(TEST, Release::Mariadb) {
        fs::copy(of_another, &place).unwrap();
        let why = reported(&root);
        assert!(why.contains("is of another build: 0 of the"), "{why}");
    }
}

/// A list that has a variable elsewhere, but every exported symbol where it is, is of this build and says another thing of it.
#[test]
fn a_list_that_disagrees_is_a_refusal() {
    const TEST: &str = "a_list_that_disagrees_is_a_refusal";
    let Some((program, list)) = real(TEST, Release::MariadbSecurity) else { return };
    let mut text = String::new();
    let file = File::open(&list).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let root = root_with(&list);
    let line = text.lines().find(|line| line.ends_with(" buf_pool")).unwrap();
    let addr = u64::from_str_radix(&line[..16], 16).unwrap();
    let moved = text.replace(line, &format!("{:016x}{}", addr + 16, &line[16..]));
    fs::write(root.path().join(PLACE), gzip(moved.as_bytes())).unwrap();
    let options = Options { cache_dir: None, ..Options::default() };
    let target = ProgramPaths { program: &program, root: root.path() };
    let error = resolve(&target, &options).unwrap_err().to_string();
    println!("{error}");
    assert!(error.contains("`buf_pool` of `mariadb-10.11.18"), "{error}");
    assert!(error.contains("the list of its package says otherwise"), "{error}");
}
