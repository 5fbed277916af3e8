//! Offsets, sizes and bit-fields, against the compiler's own `offsetof` and the bits it sets.

use symbols::profile::Field;
use symbols::role::{FieldRole, GlobalRole};

use crate::build::{Build, profile};

/// The names of MySQL 9 in every shape that a layout can have: atomics and wrappers of them, base
/// classes, anonymous members, bit-fields packed and not, nested and forward-declared types.
const SOURCE: &str = r#"
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
template <typename T> struct copyable_atomic_t : private std::atomic<T> {
  using std::atomic<T>::store; };
enum buf_io_fix : uint8_t { BUF_IO_NONE, BUF_IO_READ, BUF_IO_WRITE };
enum buf_page_state : uint8_t { BUF_BLOCK_POOL_WATCH, BUF_BLOCK_ZIP_PAGE, BUF_BLOCK_ZIP_DIRTY,
  BUF_BLOCK_NOT_USED, BUF_BLOCK_READY_FOR_USE, BUF_BLOCK_FILE_PAGE, BUF_BLOCK_MEMORY = -0 + 6,
  BUF_BLOCK_REMOVE_HASH };
enum enum_server_command { COM_SLEEP, COM_QUERY = 3 };
struct page_id_t { char c; uint32_t m_space; uint32_t m_page_no; };
struct zip_t { struct { char a; union { long b; void *data; }; }; };
struct first_t { char x; uint64_t newest_modification; };
struct second_t { uint64_t oldest_modification; };
struct fil_space_t;
struct buf_page_t : first_t, second_t {
  page_id_t id; const volatile zip_t zip;
  uint32_t low : 5, state : 7, buf_fix_count : 20;
  copyable_atomic_t<buf_io_fix> io_fix;
  fil_space_t *m_space; uint32_t m_version; };
struct rw_lock_t { bool b; std::atomic<int32_t> lock_word; };
struct buf_block_t { char c; buf_page_t page; rw_lock_t lock;
  unsigned char *frame; };
typedef volatile unsigned long counter_t;
struct buf_chunk_t { counter_t size; unsigned char *mem; buf_block_t *blocks; };
struct buf_pool_t { char m[3]; counter_t n_chunks, n_chunks_new; buf_chunk_t *chunks; };
struct fil_space_t { uint64_t pad : 3, id : 33; uint32_t m_version; std::atomic_bool m_deleted;
  uint32_t flags; };
namespace other { struct buf_pool_t { int n_chunks; }; }
other::buf_pool_t decoy;
buf_pool_t *buf_pool_ptr; unsigned long srv_buf_pool_instances, srv_page_size = 4096;
unsigned long srv_page_size_shift; int srv_unix_file_flush_method; bool buf_pool_resizing;
buf_block_t a_block; fil_space_t a_space;
extern const char version[] = "MySQL 8.4.7";
struct THD; struct COM_DATA; struct IORequest; struct fil_node_t; struct trx_t; struct mtr_t;
bool buf_page_io_complete(buf_page_t *p, bool, IORequest *, fil_node_t *) {
  p->io_fix.store(BUF_IO_NONE); return p->state == BUF_BLOCK_FILE_PAGE; }
bool dispatch_command(THD *, const COM_DATA *, enum_server_command c) { return c == COM_QUERY; }
#define AT(role, type, member) \
  printf("%s %zu %zu\n", role, offsetof(type, member), sizeof(((type *)0)->member))
#define BITS(role, type, member) do { type v; memset(&v, 0, sizeof v); v.member = -1; \
  printf("%s", role); for (size_t i = 0; i < sizeof v; i++) printf(" %02x", ((uint8_t *)&v)[i]); \
  puts(""); } while (0)
struct page_bits : first_t, second_t { page_id_t id; char zip[sizeof(zip_t)]
  __attribute__((aligned(8))); uint32_t low : 5, state : 7, buf_fix_count : 20; };
int main() {
  AT("block.space", buf_block_t, page.id.m_space); AT("block.page", buf_block_t, page.id.m_page_no);
  AT("block.newest_lsn", buf_block_t, page.newest_modification);
  AT("block.oldest_lsn", buf_block_t, page.oldest_modification);
  AT("block.zip_data", buf_block_t, page.zip.data); AT("block.io_fix", buf_block_t, page.io_fix);
  AT("block.space_ptr", buf_block_t, page.m_space); AT("block.frame", buf_block_t, frame);
  AT("block.space_version", buf_block_t, page.m_version);
  AT("block.latch", buf_block_t, lock.lock_word);
  AT("pool.n_chunks", buf_pool_t, n_chunks); AT("pool.n_chunks_new", buf_pool_t, n_chunks_new);
  AT("pool.chunks", buf_pool_t, chunks); AT("chunk.size", buf_chunk_t, size);
  AT("chunk.mem", buf_chunk_t, mem); AT("chunk.blocks", buf_chunk_t, blocks);
  AT("space.version", fil_space_t, m_version); AT("space.deleted", fil_space_t, m_deleted);
  AT("space.flags", fil_space_t, flags);
  BITS("space.id", fil_space_t, id); BITS("page.state", page_bits, state);
  BITS("page.fix_count", page_bits, buf_fix_count);
  printf("page.at %zu\n", offsetof(buf_block_t, page));
  printf("sizes %zu %zu %zu %zu\n", sizeof(buf_block_t), sizeof(buf_chunk_t), sizeof(buf_page_t),
    sizeof(buf_pool_t));
}
"#;

#[test]
fn dwarf_2() {
    agrees(&["-gdwarf-2"]);
}

#[test]
fn dwarf_2_strict() {
    agrees(&["-gdwarf-2", "-gstrict-dwarf"]);
}

#[test]
fn dwarf_3() {
    agrees(&["-gdwarf-3", "-gstrict-dwarf"]);
}

#[test]
fn dwarf_4() {
    agrees(&["-gdwarf-4"]);
}

#[test]
fn dwarf_4_with_type_units() {
    agrees(&["-gdwarf-4", "-fdebug-types-section"]);
}

#[test]
fn dwarf_5() {
    agrees(&["-gdwarf-5"]);
}

#[test]
fn dwarf_5_with_type_units() {
    agrees(&["-gdwarf-5", "-fdebug-types-section", "-O2"]);
}

#[test]
fn dwarf_5_compressed() {
    agrees(&["-gdwarf-5", "-gz=zlib"]);
}

#[test]
fn dwarf_4_compressed_the_old_way() {
    agrees(&["-gdwarf-4", "-gz=zlib-gnu"]);
}

#[test]
fn link_time_optimisation() {
    agrees(&["-g", "-O2", "-flto"]);
}

#[test]
fn dwarf_64() {
    agrees(&["-gdwarf-5", "-gdwarf64"]);
}

#[test]
fn a_source_of_another_name() {
    agrees_in("unity_0.cc", &["-g"]);
}

fn agrees(flags: &[&str]) {
    agrees_in("buf0buf.cc", flags);
}

#[track_caller]
fn agrees_in(source: &str, flags: &[&str]) {
    let Some(build) = Build::with(&["g++"], &[(source, SOURCE)]) else { return };
    let server = build.compile(&[flags, &["-Wno-invalid-offsetof"]].concat(), &[source]);
    let profile = profile(&server).unwrap();
    let text = build.try_run(server.to_str().unwrap(), &[]).unwrap();
    let page_at = text.lines().find_map(|line| line.strip_prefix("page.at ")).unwrap();
    let page_at: u64 = page_at.parse().unwrap();
    let field = |role: &str| {
        let field = FieldRole::named(role).and_then(|role| profile.fields.get(&role));
        field.unwrap_or_else(|| panic!("no {role}: {:?}", profile.missing))
    };
    let mut compared = 0;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["page.at", _] => {}
            ["sizes", sizes @ ..] => {
                let found: Vec<String> = profile.sizes.values().map(u64::to_string).collect();
                assert_eq!(found, sizes, "sizes of {:?}", profile.sizes.keys());
            }
            ["space.id", bytes @ ..] => assert_eq!(mask(field("space.id"), 0, bytes), bytes),
            ["page.state", bytes @ ..] => {
                assert_eq!(mask(field("block.state"), page_at, bytes), bytes);
            }
            ["page.fix_count", bytes @ ..] => {
                assert_eq!(mask(field("block.fix_count"), page_at, bytes), bytes);
            }
            [role, offset, size] => {
                let field = field(role);
                let found = (field.offset.to_string(), field.size.to_string(), field.bits);
                assert_eq!(found, ((*offset).to_owned(), (*size).to_owned(), None), "{role}");
            }
            _ => panic!("{line}"),
        }
        compared += 1;
    }
    assert_eq!(compared, 24, "{text}");
    assert_eq!(profile.enums.get("BUF_BLOCK_FILE_PAGE"), Some(&5));
    assert_eq!(profile.globals[&GlobalRole::PageSize].size, 8);
    assert_eq!(profile.server.version, "8.4.7");
}

/// The bytes of a structure in which only the field's bits are set, as the model prints them.
fn mask(field: &Field, base: u64, like: &[&str]) -> Vec<String> {
    let bits = field.bits.expect("a bit-field");
    let set = ((1_u128 << bits.width) - 1) << bits.shift;
    let start = usize::try_from(field.offset - base).unwrap();
    let size = usize::try_from(field.size).unwrap();
    let mut bytes = vec![0_u8; like.len()];
    bytes[start..start + size].copy_from_slice(&set.to_le_bytes()[..size]);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
