//! The real servers, against gdb and nm.
//!
//! `POOLFERRY_MYSQL56` names the `mysqld` of Oracle's generic Linux build of 5.6.24 (with DWARF),
//! `POOLFERRY_MYSQL97` that of Debian's 9.7.4 (stripped); `cargo xtask test` sets them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as their tests do")]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use common::skip;
use symbols::debug_file::SearchOptions;
use symbols::elf::Program;
use symbols::profile::{Bits, Instruction, Profile, Site, Source};
use symbols::role::{FieldRole, SiteRole, SizeRole};
use symbols::site::probe_at;
use symbols::text::ProgramText;
use symbols::{Options, Origin, ProgramPaths, Resolved, resolve};

/// The program that an environment variable names; none, and a counted skip, without it.
fn server(variable: &str) -> Option<PathBuf> {
    let program = std::env::var_os(variable).map(PathBuf::from);
    if program.is_none() {
        skip(&format!("{variable} names no mysqld"));
    }
    program
}

/// Resolves without network; `cache` is the folder of the cache.
fn resolved(program: &Path, cache: Option<&Path>) -> Resolved {
    let options = Options {
        cache_dir: cache.map(Path::to_owned),
        debug_files: SearchOptions::default(),
        ..Options::default()
    };
    resolve(&ProgramPaths { program, root: Path::new("/") }, &options).unwrap()
}

fn run(tool: &str, args: &[&str]) -> Option<String> {
    let Ok(out) = Command::new(tool).args(args).output() else {
        skip(&format!("{tool} is not installed"));
        return None;
    };
    assert!(out.status.success(), "{tool}: {}", String::from_utf8_lossy(&out.stderr));
    Some(String::from_utf8(out.stdout).unwrap())
}

/// Addresses by symbol.
fn nm(program: &Path, args: &[&str]) -> Option<BTreeMap<String, u64>> {
    let printed = run("nm", &[args, &[program.to_str().unwrap()]].concat())?;
    let symbol = |line: &str| {
        let mut words = line.split_whitespace();
        let addr = u64::from_str_radix(words.next()?, 16).ok()?;
        Some((words.nth(1)?.to_owned(), addr))
    };
    Some(printed.lines().filter_map(symbol).collect())
}

/// Sites and globals stand where nm says. Returns how many were compared.
fn compare_symbols(profile: &Profile, symbols: &BTreeMap<String, u64>) -> usize {
    let sites = profile.sites.values().flatten().map(|site| (&site.function, site.entry));
    let globals = profile.globals.values().map(|global| (&global.name, global.addr));
    let all: Vec<_> = sites.chain(globals).collect();
    for (name, addr) in &all {
        assert_eq!(symbols.get(*name), Some(&addr.0), "{name}");
    }
    all.len()
}

#[test]
fn mysql_5_6_24_is_complete() {
    let Some(program) = server("POOLFERRY_MYSQL56") else { return };
    let profile = resolved(&program, None).profile;
    assert_eq!(profile.missing, []);
    assert_eq!(profile.source, Source::OwnDwarf);
    assert_eq!(profile.server.version, "5.6.24");
    assert!(!profile.binary.pie && profile.binary.build_id.is_none());
    assert_eq!(profile.sites.len(), 8);
    for site in profile.sites.values().flatten() {
        assert_eq!(site.instruction, Instruction::Emulated, "{site:?}");
        assert_eq!(site.text, "push %rbp", "{site:?}");
    }
    let Some(symbols) = nm(&program, &[]) else { return };
    assert_eq!(compare_symbols(&profile, &symbols), 13);
}

/// Walks a member path; prints bit position from the start, and width in bits.
const GDB_WALK: &str = r#"
import gdb
def walk(role, path):
    names = path.split('.')
    at, of, size = 0, gdb.lookup_type(names[0]), 0
    for name in names[1:]:
        field = of.strip_typedefs()[name]
        at, of = at + field.bitpos, field.type
        size = field.bitsize or of.sizeof * 8
    print('field', role, at, size)
"#;

#[test]
fn mysql_5_6_24_has_the_layout_that_gdb_sees() {
    let Some(program) = server("POOLFERRY_MYSQL56") else { return };
    let profile = resolved(&program, None).profile;
    let folder = tempfile::tempdir().unwrap();
    let mut script = String::from(GDB_WALK);
    for (role, field) in &profile.fields {
        writeln!(script, "walk('{role}', '{}')", field.path).unwrap();
    }
    let types = [("block", "buf_block_t"), ("chunk", "buf_chunk_t"), ("page", "buf_page_t")];
    for (role, name) in types.into_iter().chain([("pool", "buf_pool_t")]) {
        writeln!(script, "print('size', '{role}', gdb.lookup_type('{name}').sizeof)").unwrap();
    }
    for name in profile.enums.keys().filter(|name| !name.starts_with("SRV_UNIX_")) {
        writeln!(script, "print('enum', '{name}', int(gdb.parse_and_eval('{name}')))").unwrap();
    }
    let path = folder.path().join("walk.py");
    fs::write(&path, script).unwrap();
    let args = ["-nx", "-batch", "-x", path.to_str().unwrap(), program.to_str().unwrap()];
    let Some(printed) = run("gdb", &args) else { return };
    let mut compared = 0;
    for line in printed.lines() {
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["field", role, at, width] => {
                let field = &profile.fields[&FieldRole::named(role).unwrap()];
                let whole = Bits { shift: 0, width: u8::try_from(field.size * 8).unwrap() };
                let bits = field.bits.unwrap_or(whole);
                let found = (field.offset * 8 + u64::from(bits.shift), u64::from(bits.width));
                assert_eq!(found, (at.parse().unwrap(), width.parse().unwrap()), "{role}");
            }
            ["size", role, size] => {
                let found = profile.sizes[&SizeRole::named(role).unwrap()];
                assert_eq!(found.to_string(), *size, "{role}");
            }
            ["enum", name, value] => assert_eq!(profile.enums[*name].to_string(), *value, "{name}"),
            _ => continue,
        }
        compared += 1;
    }
    assert_eq!(compared, 18 + 4 + 12, "{printed}");
}

#[test]
fn mysql_5_6_24_is_cached_by_its_content() {
    let Some(program) = server("POOLFERRY_MYSQL56") else { return };
    let folder = tempfile::tempdir().unwrap();
    let first = resolved(&program, Some(folder.path()));
    assert_eq!(first.origin, Origin::Computed);
    let start = Instant::now();
    let second = resolved(&program, Some(folder.path()));
    println!("from the cache in {:?}", start.elapsed());
    assert_eq!(second.origin, Origin::Cached);
    assert_eq!(second.profile, first.profile);

    // Another file at the same path is not taken for it.
    let copy = folder.path().join("mysqld");
    fs::copy(&program, &copy).unwrap();
    assert_eq!(resolved(&copy, Some(folder.path())).origin, Origin::Cached, "same content");
    let mut bytes = fs::read(&copy).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&copy, bytes).unwrap();
    assert_eq!(resolved(&copy, Some(folder.path())).origin, Origin::Computed, "other content");

    // A cached profile of another file, or a broken one, is computed anew.
    let entries = || fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let is_entry = |path: &PathBuf| path.extension().is_some_and(|end| end == "json");
    let all: Vec<PathBuf> = entries().filter(is_entry).collect();
    assert_eq!(all.len(), 2, "one of each content: {all:?}");
    let cached = fs::read_to_string(&all[0]).unwrap();
    for stale in [cached.replacen("\"key\":\"", "\"key\":\"0", 1), "{".to_owned()] {
        all.iter().for_each(|path| fs::write(path, &stale).unwrap());
        assert_eq!(resolved(&program, Some(folder.path())).origin, Origin::Computed);
    }
}

#[test]
fn mysql_9_7_4_is_resolved_by_its_stored_profile() {
    let Some(program) = server("POOLFERRY_MYSQL97") else { return };
    let profile = resolved(&program, None).profile;
    let name = String::from("mysql-9.7.4-debian-amd64");
    assert_eq!(profile.source, Source::Stored { name });
    assert!(profile.is_complete(), "{:?}", profile.missing);
    assert!(profile.binary.pie);
    let Some(symbols) = nm(&program, &["-D"]) else { return };
    assert_eq!(compare_symbols(&profile, &symbols), 7 + 6);
    let Some(code) = disassembly(&program, &profile) else { return };
    for site in profile.sites.values().flatten() {
        assert_eq!(code.get(&site.probe.0), Some(&site.text), "{site:?}");
    }
}

#[test]
fn mysql_9_7_4_changed_is_refused() {
    let Some(program) = server("POOLFERRY_MYSQL97") else { return };
    let profile = resolved(&program, None).profile;
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("mysqld");
    let mut bytes = fs::read(&program).unwrap();
    let at = usize::try_from(profile.sites[&SiteRole::PageDirty][0].file_offset.0).unwrap();
    bytes[at] = 0x53; // push %rbx
    fs::write(&copy, bytes).unwrap();
    let options = Options { cache_dir: None, ..Options::default() };
    let error =
        resolve(&ProgramPaths { program: &copy, root: folder.path() }, &options).unwrap_err();
    assert!(error.to_string().contains("is push %rbx, not push %rbp"), "{error}");
}

/// Bytes that this thread has read of files and pipes (proc(5), `rchar`).
fn bytes_read() -> u64 {
    let io = fs::read_to_string("/proc/thread-self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// A machine of 1 GiB has no room for a copy of a program of 70 MB beside its server.
#[test]
fn a_stored_build_is_not_read_whole() {
    const MOST: u64 = 2 << 20;
    let variables = ["POOLFERRY_MYSQL97", "POOLFERRY_MARIADB"];
    for program in variables.iter().filter_map(|variable| server(variable)) {
        let options = Options {
            cache_dir: None,
            budget_bytes: Some(64 << 10),
            debug_files: SearchOptions::default(),
            ..Options::default()
        };
        let before = bytes_read();
        let resolved = resolve(&ProgramPaths { program: &program, root: Path::new("/") }, &options);
        let profile = resolved.unwrap_or_else(|error| panic!("{error}")).profile;
        let looked = bytes_read() - before;
        assert!(matches!(profile.source, Source::Stored { .. }), "{:?}", profile.source);
        let text = ProgramText::open(&program).unwrap();
        text.prepare(&profile).unwrap();
        text.prove_all(&profile).unwrap();
        let proven = bytes_read() - before - looked;
        let size = fs::metadata(&program).unwrap().len();
        println!("{program:?}: {looked} bytes to find the profile, {proven} to prove, of {size}");
        assert!(looked + proven < MOST, "{looked} + {proven}");
    }
}

/// Moves something of a site by some bytes.
type Change = fn(&mut Site, i64) -> Option<()>;

/// How a site of a profile may be wrong by `shift` bytes: its start, its probe, its place in the file, or all of it.
const WAYS: [(&str, Change); 5] = [
    ("start", |site, shift| move_by(&mut site.entry.0, shift)),
    ("probe", |site, shift| move_by(&mut site.probe.0, shift)),
    ("place in the file", |site, shift| move_by(&mut site.file_offset.0, shift)),
    ("probe and its place", |site, shift| {
        move_by(&mut site.probe.0, shift).and_then(|()| move_by(&mut site.file_offset.0, shift))
    }),
    ("all", |site, shift| {
        move_by(&mut site.entry.0, shift)?;
        move_by(&mut site.probe.0, shift)?;
        move_by(&mut site.file_offset.0, shift)
    }),
];

fn move_by(number: &mut u64, shift: i64) -> Option<()> {
    *number = number.checked_add_signed(shift)?;
    Some(())
}

/// No probe stands on a site that is wrong by a few bytes, whatever else of it is right: the proof refuses it, but for
/// another instruction of the same straight line, which the comparison of the profile refuses by its text.
#[test]
fn a_site_that_is_shifted_is_refused() {
    let variables = ["POOLFERRY_MYSQL97", "POOLFERRY_MARIADB", "POOLFERRY_MARIADB_SECURITY"];
    for program in variables.iter().filter_map(|variable| server(variable)) {
        let profile = resolved(&program, None).profile;
        let text = ProgramText::open(&program).unwrap();
        text.prepare(&profile).unwrap();
        text.prove_all(&profile).unwrap();
        let elf = Program::open(&program).unwrap();
        let (mut mutants, mut believed) = (0, Vec::new());
        for (role, site) in
            profile.sites.iter().flat_map(|(role, of)| of.iter().map(move |s| (role, s)))
        {
            for ((what, change), shift) in WAYS
                .iter()
                .flat_map(|way| [-16, -8, -4, -2, -1, 1, 2, 4, 8, 16].map(|by| (way, by)))
            {
                let mut wrong = site.clone();
                change(&mut wrong, shift).unwrap();
                mutants += 1;
                let same = || probe_at(&elf, wrong.probe).is_some_and(|at| at.text == wrong.text);
                if text.prove(&wrong).is_ok() && same() {
                    believed.push(format!("{role}: {what} {shift:+}"));
                }
            }
        }
        println!("{program:?}: {mutants} sites that are wrong");
        assert!(believed.is_empty(), "{program:?}: {believed:#?}");
    }
}

/// Instructions at the probes, by objdump.
fn disassembly(program: &Path, profile: &Profile) -> Option<BTreeMap<u64, String>> {
    let mut code = BTreeMap::new();
    for site in profile.sites.values().flatten() {
        let start = format!("--start-address={}", site.probe);
        let stop = format!("--stop-address={:#x}", site.probe.0 + 4);
        let path = program.to_str().unwrap();
        let printed = run("objdump", &["-d", "--no-show-raw-insn", &start, &stop, path])?;
        let line = printed.lines().find_map(|line| {
            let (addr, text) = line.trim().split_once(":\t")?;
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            Some((u64::from_str_radix(addr, 16).ok()?, text))
        });
        code.extend(line);
    }
    Some(code)
}
