//! Files that are cut short or changed at random: an answer or an error, never a panic or a hang.

use std::fs;
use std::time::{Duration, Instant};

use symbols::Budget;
use symbols::elf::Program;
use symbols::role::SiteRole;

use crate::build::{Build, profile};

/// Longest time that a small file may keep the resolver busy. An intact one takes some milliseconds.
const LIMIT: Duration = Duration::from_secs(5);

const SOURCE: &str = r#"
struct buf_page_t { unsigned space : 32; unsigned state : 3; }; struct rw_lock_t { long lock_word; };
struct base_t { int x; }; struct buf_block_t : base_t { buf_page_t page; rw_lock_t lock; char *frame; };
struct buf_chunk_t { unsigned long size; void *mem; buf_block_t *blocks; };
struct buf_pool_t { unsigned long n_chunks; buf_chunk_t *chunks; }; buf_pool_t *buf_pool_ptr;
unsigned long srv_page_size[4]; enum { BUF_IO_NONE, BUF_BLOCK_FILE_PAGE = 5 };
extern const char version[] = "5.6.24"; enum enum_server_command { COM_QUERY = 3 }; struct THD;
static inline void clean(buf_page_t *p) { p->state = BUF_BLOCK_FILE_PAGE; srv_page_size[1]++; }
bool buf_page_io_complete(buf_page_t *p) { clean(p); return p->space; }
void buf_LRU_block_free_non_file_page(buf_block_t *b) { if (b->frame) clean(&b->page); }
bool dispatch_command(enum_server_command c, THD *, char *, unsigned) { return c == COM_QUERY; }
int main() { buf_block_t b = {}; buf_LRU_block_free_non_file_page(&b);
  return buf_page_io_complete(&b.page) + BUF_IO_NONE; }
"#;

#[test]
fn cut_short() {
    let Some((build, bytes)) = intact(&["-g", "-O2"]) else { return };
    for at in (0..bytes.len()).step_by(97) {
        survives(&build, &bytes[..at], at as u64);
    }
}

#[test]
fn changed_anywhere() {
    for flags in [&["-gdwarf-2", "-O2"][..], &["-gdwarf-4", "-O2"], &["-gdwarf-5", "-O2"]] {
        let Some((build, bytes)) = intact(flags) else { return };
        let all = 0..bytes.len();
        mutate(&build, &bytes, &[all], 400);
    }
}

#[test]
fn changed_in_its_debug_information() {
    let names = [
        ".debug_info",
        ".debug_abbrev",
        ".debug_str",
        ".debug_loc",
        ".debug_loclists",
        ".debug_ranges",
        ".debug_rnglists",
        ".debug_addr",
        ".eh_frame",
    ];
    for flags in [
        &["-gdwarf-2", "-O2"][..],
        &["-gdwarf-4", "-O2", "-fdebug-types-section"],
        &["-gdwarf-5", "-O2"],
        &["-gdwarf-5", "-O2", "-gz=zlib"],
    ] {
        let Some((build, bytes)) = intact(flags) else { return };
        let sections = sections(&build, &names);
        assert!(sections.len() >= 3, "{sections:?}");
        mutate(&build, &bytes, &sections, 1200);
    }
}

/// A small server without PIE, and its bytes.
fn intact(flags: &[&str]) -> Option<(Build, Vec<u8>)> {
    let build = Build::with(&["g++", "readelf"], &[("buf0buf.cc", SOURCE)])?;
    let server = build.compile(&[flags, &["-no-pie"]].concat(), &["buf0buf.cc"]);
    let whole = profile(&server).unwrap();
    assert!(whole.sites.contains_key(&SiteRole::PageIoComplete), "{:?}", whole.missing);
    Some((build, fs::read(server).unwrap()))
}

/// Where sections lie in the file, by `readelf`.
fn sections(build: &Build, names: &[&str]) -> Vec<std::ops::Range<usize>> {
    let text = build.try_run("readelf", &["-SW", "server"]).unwrap();
    let find = |name: &&str| {
        let line = text.lines().find(|line| line.contains(&format!("{name} ")))?;
        let mut words = line.split_once(&format!("{name} "))?.1.split_whitespace().skip(2);
        let mut hex = || usize::from_str_radix(words.next()?, 16).ok();
        let (offset, size) = (hex()?, hex()?);
        Some(offset..offset + size)
    };
    names.iter().filter_map(find).filter(|range| !range.is_empty()).collect()
}

/// Changes one to eight bytes in `places`, `rounds` times.
fn mutate(build: &Build, bytes: &[u8], places: &[std::ops::Range<usize>], rounds: u64) {
    for round in 0..rounds {
        let mut random = Random(round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut changed = bytes.to_vec();
        for _ in 0..=random.below(8) {
            let place = &places[random.below(places.len())];
            let at = place.start + random.below(place.len());
            changed[at] = match random.below(3) {
                0 => changed[at] ^ (1 << random.below(8)),
                1 => [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
                _ => u8::try_from(random.below(256)).unwrap(),
            };
        }
        survives(build, &changed, round);
    }
}

fn survives(build: &Build, bytes: &[u8], round: u64) {
    let path = build.path("changed");
    fs::write(&path, bytes).unwrap();
    let start = Instant::now();
    let _ = profile(&path); // an answer or an error: both are right
    if let Ok(program) = Program::from_bytes(&path, bytes.to_vec(), &Budget::default()) {
        let _ = program.content_hash();
    }
    assert!(start.elapsed() < LIMIT, "round {round} took {:?}", start.elapsed());
}

/// xorshift64*: reproducible, and good enough to pick bytes.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let value = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(value).unwrap() % limit
    }
}
