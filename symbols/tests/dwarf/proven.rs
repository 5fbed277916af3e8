//! Sites that are not true of the program: no probe may stand on them, whoever states them.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use symbols::Ends;
use symbols::addr::{FileOff, LinkAddr};
use symbols::elf::Program;
use symbols::profile::{Site, SiteKind};
use symbols::role::SiteRole;
use symbols::site::{code, probe_at};
use symbols::text::{ProgramText, ProvenSite, SiteError, TextError, Why};

use crate::build::{Build, profile};

/// Two functions that are too much alike to be told apart by their first instructions, one that is
/// called from outside of the file only by its address, and the dispatch function of a server.
const SOURCE: &str = r#"
extern const char version[] = "5.6.24";
enum enum_server_command { COM_QUERY = 3 }; struct THD;
volatile unsigned long touched[4];
__attribute__((noipa)) bool dispatch_command(enum_server_command c, THD *, char *, unsigned n) {
  unsigned long here[8] = {n, 1, 2, 3};
  for (unsigned i = 0; i < n; i++) touched[i & 3] += here[i & 7];
  return c == COM_QUERY; }
__attribute__((noipa)) bool dispatch_nothing(enum_server_command c, THD *, char *, unsigned n) {
  unsigned long here[8] = {n, 1, 2, 3};
  for (unsigned i = 0; i < n; i++) touched[i & 3] -= here[i & 7];
  return c != COM_QUERY; }
__attribute__((noipa, visibility("hidden"))) unsigned long hidden(unsigned long n) {
  unsigned long here[8] = {n, 1, 2, 3};
  for (unsigned i = 0; i < n; i++) touched[i & 3] ^= here[i & 7];
  return n; }
int main(int argc, char **) {
  hidden(argc); dispatch_nothing(COM_QUERY, nullptr, nullptr, argc);
  return dispatch_command(COM_QUERY, nullptr, nullptr, argc) && version[0] != '5'; }
"#;

const COMMAND: &str = "_Z16dispatch_command19enum_server_commandP3THDPcj";
const NOTHING: &str = "_Z16dispatch_nothing19enum_server_commandP3THDPcj";

/// The program with its names, and the site of its dispatch function.
fn built() -> Option<(Build, Site)> {
    let build = Build::with(&["g++", "strip"], &[("main.cc", SOURCE)])?;
    let flags = ["-g", "-O0", "-no-pie", "-fno-omit-frame-pointer", "-fcf-protection=none"];
    let program = build.compile(&flags, &["main.cc"]);
    let site = profile(&program).unwrap().sites[&SiteRole::Query][0].clone();
    Some((build, site))
}

/// A site of `function` at `entry`, with the probe `way` bytes further on, as a liar would state it: all
/// that can be right is.
fn lie(program: &Path, function: &str, entry: LinkAddr, way: u64) -> Site {
    let program = Program::open(program).unwrap();
    let probe = probe_at(&program, LinkAddr(entry.0 + way)).expect("something decodes there");
    Site {
        function: function.to_owned(),
        entry,
        probe: probe.addr,
        file_offset: probe.file_offset,
        instruction: probe.instruction,
        code: code(&program, entry, &probe),
        text: probe.text,
        kind: SiteKind::Function,
        args: Vec::new(),
    }
}

fn refused(program: &Path, site: &Site) -> SiteError {
    let text = ProgramText::open(program).unwrap();
    let error = text.prove(site).map(|proven| panic!("believed: {proven:?}")).unwrap_err();
    println!("{error}\n  hint: {}", error.hint());
    error
}

fn assert_proven(program: &Path, site: &Site) {
    let text = ProgramText::open(program).unwrap();
    let proven: ProvenSite<'_> = text.prove(site).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(proven.probe(), site.file_offset);
    assert_eq!(proven.entry().0, site.file_offset.0 - (site.probe.0 - site.entry.0));
    assert_eq!(proven.function(), site.function);
    // The path leads to the file that was checked, whatever becomes of its name.
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    assert_eq!(inode(&proven.path()), inode(program));
}

fn entry_of(program: &Path, name: &str) -> LinkAddr {
    let symbols = Program::open(program).unwrap().symbols([name]).unwrap();
    symbols.get(name)[0].addr
}

#[test]
fn true_sites_are_proven_with_and_without_names() {
    let Some((build, site)) = built() else { return };
    let program = build.path("server");
    assert_proven(&program, &site);
    let hidden = lie(&program, "_Z6hiddenm", entry_of(&program, "_Z6hiddenm"), 0);
    assert_proven(&program, &hidden);
    build.try_run("strip", &["server"]).unwrap();
    assert_proven(&program, &site);
    // Not exported: the unwind table has it.
    assert_proven(&program, &hidden);
}

#[test]
fn the_middle_of_an_instruction() {
    let Some((build, site)) = built() else { return };
    let program = build.path("server");
    for stripped in [false, true] {
        if stripped {
            build.try_run("strip", &["server"]).unwrap();
        }
        // push %rbp; mov %rsp,%rbp: its second byte begins another `mov`.
        let error = refused(&program, &lie(&program, COMMAND, site.entry, 2));
        assert!(matches!(error.why, Why::MidInstruction), "{error}");
        // A start in mid-instruction is no start.
        let moved = LinkAddr(site.entry.0 + 2);
        let error = refused(&program, &lie(&program, COMMAND, moved, 0));
        assert!(matches!(error.why, Why::NoFunction { .. }), "{error}");
        // An inlined copy may begin at any instruction, not in one.
        let mut inlined = lie(&program, COMMAND, moved, 0);
        inlined.kind = SiteKind::Inlined;
        let error = refused(&program, &inlined);
        assert!(matches!(error.why, Why::MidInstruction), "{error}");
        inlined = lie(&program, COMMAND, LinkAddr(site.entry.0 + 1), 0);
        inlined.kind = SiteKind::Inlined;
        assert_proven(&program, &inlined);
        // Before the entry.
        let mut before = site.clone();
        before.probe.0 -= 1;
        assert!(matches!(refused(&program, &before).why, Why::MidInstruction));
    }
}

#[test]
fn another_function() {
    let Some((build, _)) = built() else { return };
    let program = build.path("server");
    let nothing = entry_of(&program, NOTHING);
    for stripped in [false, true] {
        if stripped {
            build.try_run("strip", &["server"]).unwrap();
        }
        let error = refused(&program, &lie(&program, COMMAND, nothing, 0));
        let Why::OtherFunction { found } = &error.why else { panic!("{error}") };
        assert_eq!(found, NOTHING);
        let mut inlined = lie(&program, COMMAND, nothing, 0);
        inlined.kind = SiteKind::Inlined;
        assert!(matches!(refused(&program, &inlined).why, Why::OtherFunction { .. }));
    }
}

#[test]
fn a_start_that_is_no_function() {
    let Some((build, site)) = built() else { return };
    let program = build.path("server");
    for stripped in [false, true] {
        if stripped {
            build.try_run("strip", &["server"]).unwrap();
        }
        // The second instruction of the function.
        let error = refused(&program, &lie(&program, COMMAND, LinkAddr(site.entry.0 + 1), 0));
        assert!(matches!(error.why, Why::NoFunction { .. }), "{error}");
        assert!(error.hint().contains("profile"), "{}", error.hint());
    }
}

#[test]
fn beyond_the_straight_line_and_other_bytes() {
    let Some((build, site)) = built() else { return };
    let program = build.path("server");
    let error = refused(&program, &lie(&program, COMMAND, site.entry, 65));
    assert!(matches!(error.why, Why::NotInPrologue), "{error}");

    let mut other = site.clone();
    other.code.replace_range(..2, "53");
    let error = refused(&program, &other);
    assert!(matches!(error.why, Why::OtherBytes { .. }), "{error}");
    other.code.clear();
    assert!(matches!(refused(&program, &other).why, Why::OtherBytes { .. }), "no bytes, no proof");

    let mut elsewhere = site.clone();
    elsewhere.file_offset = FileOff(elsewhere.file_offset.0 + 1);
    assert!(matches!(refused(&program, &elsewhere).why, Why::OtherOffset { .. }));

    for addr in [0, 1, site.entry.0 ^ (1 << 40), u64::MAX - 1, u64::MAX] {
        let mut wild = site.clone();
        (wild.entry, wild.probe) = (LinkAddr(addr), LinkAddr(addr));
        refused(&program, &wild);
        wild.kind = SiteKind::Inlined;
        refused(&program, &wild);
    }
}

/// Gives the program `count` more symbol tables, each of them a hole of `size` bytes.
fn add_tables(program: &Path, count: u16, size: u64) {
    let mut bytes = fs::read(program).unwrap();
    let at = |bytes: &[u8], place: usize, len: usize| {
        let mut word = [0; 8];
        word[..len].copy_from_slice(&bytes[place..place + len]);
        usize::try_from(u64::from_le_bytes(word)).unwrap()
    };
    let (start, sections) = (at(&bytes, 0x28, 8), at(&bytes, 0x3c, 2));
    let headers = bytes[start..start + 64 * sections].to_vec();
    let (hole, end) = (bytes.len() as u64, bytes.len() as u64 + size);
    let mut more = [0; 64];
    more[4] = 2; // SHT_SYMTAB
    more[0x18..0x20].copy_from_slice(&hole.to_le_bytes());
    more[0x20..0x28].copy_from_slice(&size.to_le_bytes());
    bytes[0x28..0x30].copy_from_slice(&end.to_le_bytes());
    let total = u16::try_from(sections).unwrap() + count;
    bytes[0x3c..0x3e].copy_from_slice(&total.to_le_bytes());
    fs::write(program, &bytes).unwrap();
    let file = fs::OpenOptions::new().write(true).open(program).unwrap();
    let table = [headers, more.repeat(count.into())].concat();
    std::os::unix::fs::FileExt::write_all_at(&file, &table, end).unwrap();
}

/// Each of them is a look through a hole, for each site.
#[test]
fn thousands_of_symbol_tables() {
    let Some((build, site)) = built() else { return };
    let program = build.path("server");
    add_tables(&program, 4000, 60 << 20);
    let start = Instant::now();
    let error = ProgramText::open(&program).map(|text| text.prove(&site).map(drop));
    println!("{error:?} after {:?}", start.elapsed());
    assert!(error.unwrap_err().to_string().contains("two symbol tables of one kind"));
}

/// What is read of it is nothing once its process is gone, or nobody waits any more.
#[test]
fn reading_ends_with_the_process() {
    let Some((build, site)) = built() else { return };
    let (end, other) = std::io::pipe().unwrap();
    let ends = Ends::default().and(Arc::new(end.into()));
    let text = ProgramText::open(&build.path("server")).unwrap().until(ends);
    text.prove(&site).unwrap();
    drop(other);
    let error = text.prove(&site).unwrap_err();
    assert!(matches!(error.why, Why::Text(TextError::Ended)), "{error}");
}

/// Damage at any place of the headers is refused or proves the same; it never panics.
#[test]
fn damaged_headers() {
    let Some((build, site)) = built() else { return };
    let program = build.path("server");
    let whole = fs::read(&program).unwrap();
    let damaged = build.path("damaged");
    let last = whole.len() - 4096;
    for at in (0..1024).chain(last..whole.len()).step_by(3) {
        for byte in [0, 0x7f, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            fs::write(&damaged, &bytes).unwrap();
            if let Ok(text) = ProgramText::open(&damaged)
                && let Ok(proven) = text.prove(&site)
            {
                assert_eq!(proven.probe(), site.file_offset);
            }
        }
    }
    for len in [0, 1, 63, 64, 200, whole.len() / 2, whole.len() - 1] {
        fs::write(&damaged, &whole[..len]).unwrap();
        let _ = ProgramText::open(&damaged).map(|text| text.prove(&site).map(drop));
    }
    let error = ProgramText::open(&build.path("")).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
}
