//! A small program with the names of a MySQL 5.6 server, so that all of its profile can be made.

use std::fs;
use std::path::{Path, PathBuf};

use symbols::profile::Profile;
use symbols::{Options, ProgramPaths, resolve};

use crate::lab::Lab;

/// Types of `include/buf0buf.h` and others by name; their layout is our own.
const HEADER: &str = r#"
enum buf_page_state { BUF_BLOCK_POOL_WATCH, BUF_BLOCK_ZIP_PAGE, BUF_BLOCK_ZIP_DIRTY,
  BUF_BLOCK_NOT_USED, BUF_BLOCK_READY_FOR_USE, BUF_BLOCK_FILE_PAGE, BUF_BLOCK_MEMORY,
  BUF_BLOCK_REMOVE_HASH };
enum buf_io_fix { BUF_IO_NONE, BUF_IO_READ, BUF_IO_WRITE };
enum flush_method { SRV_UNIX_FSYNC = 1, SRV_UNIX_O_DIRECT = 4, SRV_UNIX_O_DIRECT_NO_FSYNC };
enum enum_server_command { COM_SLEEP, COM_QUERY = 3 };
struct page_zip_des_t { unsigned char *data; unsigned short n_blobs; };
struct rw_lock_t { volatile long lock_word; };
struct buf_page_t { unsigned space; unsigned offset; unsigned buf_fix_count : 19;
  enum buf_io_fix io_fix : 2; enum buf_page_state state : 3; page_zip_des_t zip;
  unsigned long newest_modification, oldest_modification; };
struct buf_block_t { buf_page_t page; unsigned char *frame; rw_lock_t lock; };
struct buf_chunk_t { unsigned long mem_size, size; void *mem; buf_block_t *blocks; };
struct buf_pool_t { unsigned long instance_no, n_chunks; buf_chunk_t *chunks; };
extern buf_pool_t *buf_pool_ptr;
bool buf_page_io_complete(buf_page_t *);
void buf_flush_remove(buf_page_t *);
"#;

const BUF0BUF: &str = r#"
#include "model.h"
buf_pool_t *buf_pool_ptr;
unsigned long srv_buf_pool_instances = 1, srv_page_size = 16384, srv_page_size_shift = 14;
enum flush_method srv_unix_file_flush_method = SRV_UNIX_O_DIRECT;
static buf_io_fix last = BUF_IO_NONE;
bool buf_page_io_complete(buf_page_t *page) { last = page->io_fix; page->io_fix = BUF_IO_NONE;
  buf_flush_remove(page); return last == BUF_IO_WRITE && page->state == BUF_BLOCK_FILE_PAGE; }
void buf_flush_insert_into_flush_list(buf_pool_t *pool, buf_block_t *block, unsigned long lsn) {
  block->page.oldest_modification = lsn + pool->n_chunks + pool->chunks->size; }
void buf_flush_insert_sorted_into_flush_list(buf_pool_t *, buf_block_t *block, unsigned long lsn) {
  block->page.oldest_modification = lsn; }
void buf_LRU_block_free_non_file_page(buf_block_t *block) { block->page.state = BUF_BLOCK_NOT_USED; }
void buf_flush_remove(buf_page_t *page) { page->oldest_modification = 0; }
void buf_flush_write_complete(buf_page_t *page) { page->newest_modification = 0; }
"#;

const SQL_PARSE: &str = r#"
#include "model.h"
extern const char version[] = "5.6.24";
struct THD { int id; }; struct trx_t { int id; }; struct mtr_t { int id; };
bool dispatch_command(enum_server_command command, THD *thd, char *packet, unsigned length) {
  return command == COM_QUERY && thd->id + packet[0] + (int)length; }
void trx_commit_low(trx_t *trx, mtr_t *mtr) { trx->id = mtr->id; }
int main() { buf_chunk_t chunk = {}; buf_pool_t pool = {0, 1, &chunk}; buf_pool_ptr = &pool;
  buf_block_t block = {}; return buf_page_io_complete(&block.page) + version[0]; }
"#;

/// Compiles the model unit by unit, as servers are, and links it as `out`.
pub(crate) fn compile(lab: &Lab, out: &str, flags: &[&str]) -> PathBuf {
    fs::write(lab.path("model.h"), HEADER).unwrap();
    let fixed = ["-g", "-O2", "-fno-inline", "-fno-ipa-cp", "-c"];
    for (name, source) in [("buf0buf.cc", BUF0BUF), ("sql_parse.cc", SQL_PARSE)] {
        fs::write(lab.path(name), source).unwrap();
        lab.run("g++", &[&fixed, flags, &[name]].concat());
    }
    // Servers export what their plugins use.
    let link = ["-rdynamic", "-Wl,--build-id=sha1", "-o", out, "buf0buf.o", "sql_parse.o"];
    lab.run("g++", &link);
    lab.path(out)
}

/// What the agent uses of a profile: all but which build it is of and where it came from.
#[track_caller]
pub(crate) fn facts(lab: &Lab, program: &Path, options: &Options) -> Profile {
    match try_facts(lab, program, options) {
        Ok(profile) => profile,
        Err(error) => panic!("`{}` has no profile: {error}", program.display()),
    }
}

/// As [`facts`], for programs that may have none.
pub(crate) fn try_facts(
    lab: &Lab,
    program: &Path,
    options: &Options,
) -> Result<Profile, symbols::Error> {
    let mut profile = resolve(&ProgramPaths { program, root: &lab.root() }, options)?.profile;
    profile.binary.build_id = None;
    profile.binary.content_hash = None;
    profile.binary.size = 0;
    profile.source = symbols::profile::Source::OwnDwarf;
    Ok(profile)
}
