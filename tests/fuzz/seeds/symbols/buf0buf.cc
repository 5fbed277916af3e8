// A program with the names of a MySQL 5.6 server; compiled in several forms it is where fuzzing starts.
enum buf_page_state { BUF_BLOCK_NOT_USED = 3, BUF_BLOCK_FILE_PAGE = 5 };
enum buf_io_fix { BUF_IO_NONE, BUF_IO_READ, BUF_IO_WRITE };
enum enum_server_command { COM_SLEEP, COM_QUERY = 3 };
struct page_zip_des_t { unsigned char *data; };
struct rw_lock_t { volatile long lock_word; };
struct buf_page_t {
  unsigned space, offset, buf_fix_count : 19;
  buf_io_fix io_fix : 2;
  buf_page_state state : 3;
  page_zip_des_t zip;
  unsigned long newest_modification, oldest_modification;
};
struct buf_block_t { buf_page_t page; unsigned char *frame; rw_lock_t lock; };
struct buf_chunk_t { unsigned long size; void *mem; buf_block_t *blocks; };
struct buf_pool_t { unsigned long n_chunks; buf_chunk_t *chunks; };
struct THD { int id; };

extern const char version[] = "5.6.24";
buf_pool_t *buf_pool_ptr;
unsigned long srv_buf_pool_instances = 1, srv_page_size = 16384, srv_page_size_shift = 14;
int srv_unix_file_flush_method = 5;

static inline bool is_clean(const buf_page_t *page) { return page->oldest_modification == 0; }
bool buf_page_io_complete(buf_page_t *page) {
  page->io_fix = BUF_IO_NONE;
  return is_clean(page) && page->state == BUF_BLOCK_FILE_PAGE;
}
void buf_flush_insert_into_flush_list(buf_pool_t *pool, buf_block_t *block, unsigned long lsn) {
  block->page.oldest_modification = lsn + pool->chunks->size;
}
void buf_LRU_block_free_non_file_page(buf_block_t *block) {
  block->page.state = BUF_BLOCK_NOT_USED;
}
bool dispatch_command(enum_server_command command, THD *thd, char *packet, unsigned length) {
  return command == COM_QUERY && thd->id + packet[0] + (int)length;
}
int main() {
  buf_block_t block = {};
  return buf_page_io_complete(&block.page) + version[0];
}
