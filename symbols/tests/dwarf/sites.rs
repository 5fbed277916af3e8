//! Sites, against what a debugger sees there: at each, the first argument of each call, in order.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use symbols::Profile;
use symbols::profile::{ArgLoc, Instruction, SiteKind};
use symbols::role::{Role, SiteRole};
use symbols::text::ProgramText;

use crate::build::{Build, profile};

/// Frees blocks by a function that compilers like to inline, clone and part.
const BUF0LRU: &str = r#"
#include "model.h"
unsigned long freed;
void buf_LRU_block_free_non_file_page(buf_block_t *block) {
  if (block->state == 0) return;
  block->state = 3; freed += block->n; sink(block); sink(block); sink(block); sink(block); }
void free_many(buf_block_t **blocks, int count) {
  for (int i = 0; i < count; i++) { sink(blocks[i]); buf_LRU_block_free_non_file_page(blocks[i]); } }
"#;

const MODEL: &str = "
struct buf_block_t { int state; unsigned long n; };
void sink(void *);
void buf_LRU_block_free_non_file_page(buf_block_t *);
void free_many(buf_block_t **, int);
";

const MAIN: &str = r#"
#include <cstdio>
#include "model.h"
extern const char version[] = "5.6.24";
volatile unsigned long touched;
void sink(void *p) { touched += (unsigned long)p; asm volatile("" ::: "memory"); }
enum enum_server_command { COM_QUERY = 3 }; struct THD;
bool dispatch_command(enum_server_command c, THD *, char *, unsigned) { return c == COM_QUERY; }
buf_block_t blocks[12];
int main(int argc, char **) {
  buf_block_t *list[12];
  for (int i = 0; i < 12; i++) { blocks[i].state = argc; blocks[i].n = i; list[i] = &blocks[i];
    printf("call %lx\n", (unsigned long)list[i]); }
  fflush(stdout);
  free_many(list, 4); buf_LRU_block_free_non_file_page(list[4]); free_many(list + 5, 7);
  return version[0] != '5'; }
"#;

const ROLE: SiteRole = SiteRole::BlockFree;

#[test]
fn optimised_not_at_all() {
    let Some(profile) = every_call_is_seen(&["-O0"]) else { return };
    assert_eq!(kinds(&profile), [SiteKind::Function]);
}

#[test]
fn called() {
    let Some(profile) = every_call_is_seen(&["-O2", "-fno-inline"]) else { return };
    assert_eq!(kinds(&profile), [SiteKind::Function]);
}

#[test]
fn with_control_flow_protection() {
    // Without shrink-wrapping the registers are saved first, as in any function of some length.
    let flags = ["-O2", "-fno-inline", "-fcf-protection=full", "-fno-shrink-wrap"];
    let Some(profile) = every_call_is_seen(&flags) else { return };
    let site = &profile.sites[&ROLE][0];
    assert_eq!(site.instruction, Instruction::Emulated, "{site:?}");
    assert!(site.probe > site.entry, "{site:?}");
}

#[test]
fn inlined_into_a_loop() {
    let flags = ["-O2", "-finline-functions", "-fno-partial-inlining"];
    let Some(profile) = every_call_is_seen(&flags) else { return };
    let kinds = kinds(&profile);
    assert!(kinds.contains(&SiteKind::Inlined) && kinds.contains(&SiteKind::Function), "{kinds:?}");
}

#[test]
fn parted() {
    // A body that is too large to inline whole: its test is inlined, the rest becomes `.part.0`.
    let flags = ["-O2", "-fpartial-inlining", "-finline-limit=5"];
    let Some(profile) = every_call_is_seen(&flags) else { return };
    assert!(kinds(&profile).contains(&SiteKind::Clone), "{:?}", kinds(&profile));
}

#[test]
fn optimised_at_link_time() {
    let Some(profile) = every_call_is_seen(&["-O3", "-flto"]) else { return };
    assert!(kinds(&profile).contains(&SiteKind::Inlined), "{:?}", kinds(&profile));
}

#[test]
fn for_size_with_a_frame_pointer() {
    every_call_is_seen(&["-Os", "-fno-omit-frame-pointer"]);
}

fn kinds(profile: &Profile) -> Vec<SiteKind> {
    profile.sites[&ROLE].iter().map(|site| site.kind).collect()
}

/// Builds the model, and runs it under a debugger with a breakpoint on each probe: the arguments
/// seen must be those of the calls, each call's at least once, in their order.
#[track_caller]
fn every_call_is_seen(flags: &[&str]) -> Option<Profile> {
    let sources = [("buf0lru.cc", BUF0LRU), ("main.cc", MAIN), ("model.h", MODEL)];
    let build = Build::with(&["g++", "gdb"], &sources)?;
    let mut all = None;
    for version in ["-gdwarf-2", "-gdwarf-4", "-gdwarf-5"] {
        let flags = [flags, &[version, "-no-pie"]].concat();
        let server = build.compile(&flags, &["buf0lru.cc", "main.cc"]);
        let profile = profile(&server).unwrap();
        let unseen = profile.missing.iter().any(|missing| missing.role == Role::Site(ROLE));
        assert!(!unseen, "{flags:?}: {:?}", profile.missing);
        // What debug information says is proven by the program's own bytes, wherever the copies are.
        ProgramText::open(&server).unwrap().prove_all(&profile).unwrap();
        let (calls, hits) = run_under_gdb(&build, &profile);
        assert_eq!(calls.len(), 12);
        assert_eq!(hits, calls, "{flags:?}: {:#?}", profile.sites[&ROLE]);
        all = Some(profile);
    }
    all
}

/// Arguments of the calls, and those seen at the sites (one where several sites see the same call).
fn run_under_gdb(build: &Build, profile: &Profile) -> (Vec<String>, Vec<String>) {
    let mut script = String::from("set pagination off\nset width 0\n");
    for site in &profile.sites[&ROLE] {
        let value = value(site.args[0]);
        writeln!(script, "break *{}\ncommands\nsilent", site.probe).unwrap();
        writeln!(script, "printf \"hit %lx\\n\", {value}\ncontinue\nend").unwrap();
    }
    script.push_str("run\n");
    std::fs::write(build.path("script"), script).unwrap();
    let output = build.try_run("gdb", &["-nx", "-batch", "-x", "script", "server"]).unwrap();
    let of = |prefix: &str| -> Vec<String> {
        let mut seen: Vec<String> = output
            .lines()
            .filter_map(|line| line.strip_prefix(prefix))
            .map(str::to_owned)
            .collect();
        seen.dedup();
        seen
    };
    (of("call "), of("hit "))
}

/// The debugger's expression for an argument.
fn value(arg: ArgLoc) -> String {
    let names = BTreeMap::from([
        (0, "rax"),
        (1, "rdx"),
        (2, "rcx"),
        (3, "rbx"),
        (4, "rsi"),
        (5, "rdi"),
        (6, "rbp"),
        (7, "rsp"),
        (8, "r8"),
        (9, "r9"),
        (10, "r10"),
        (11, "r11"),
        (12, "r12"),
        (13, "r13"),
        (14, "r14"),
        (15, "r15"),
    ]);
    match arg {
        ArgLoc::Register { reg } => format!("(unsigned long)${}", names[&reg]),
        ArgLoc::Memory { reg, offset } => {
            format!("*(unsigned long *)((char *)${} + {offset})", names[&reg])
        }
        ArgLoc::Constant { value } => format!("{value}ul"),
        ArgLoc::Unknown => panic!("an argument of unknown place"),
    }
}
