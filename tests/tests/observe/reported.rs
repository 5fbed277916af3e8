//! The pool as the server itself reports it: `information_schema.INNODB_BUFFER_PAGE`.
//!
//! A table that reads the descriptors under the pool's mutex, so it is the truth, and too slow and
//! disturbing for anything but tests.

use std::collections::BTreeMap;

use test_servers::Server;

/// One block. `BLOCK_ID` counts all blocks of an instance in the order of its chunks
/// (`i_s_innodb_fill_buffer_pool`, handler/i_s.cc, 5.6.24 and 9.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reported {
    pub(crate) state: String,
    pub(crate) id: Option<(u32, u32)>,
    pub(crate) newest_lsn: u64,
    pub(crate) oldest_lsn: u64,
    pub(crate) io_fix: String,
    /// MariaDB reports of a page that is free in its tablespace that there is one, and neither which nor whether it is dirty
    /// (`i_s_innodb_buffer_page_get_info`, handler/i_s.cc, 10.11.18).
    pub(crate) freed: bool,
    /// The highest oldest LSN of a clean page: in MariaDB 1 is one that was written and is still on the flush list.
    clean: u64,
}

/// All blocks by instance and index in the instance.
///
/// 9.7 builds the answer in a temporary table of InnoDB, and so in the pool that it describes
/// ([`is_scratch`]). The larger its memory for such tables, the fewer pages that takes.
pub(crate) fn by_server(server: &Server) -> BTreeMap<(u32, u32), Reported> {
    let sql = "SET SESSION tmp_table_size = 1073741824;
               SELECT POOL_ID, BLOCK_ID, PAGE_STATE, IO_FIX, SPACE, PAGE_NUMBER,
                      NEWEST_MODIFICATION, OLDEST_MODIFICATION, PAGE_TYPE
               FROM information_schema.INNODB_BUFFER_PAGE";
    let is_mariadb = server.query_one("SELECT VERSION()").unwrap().contains("MariaDB");
    let number = |text: &str| text.parse::<u64>().unwrap();
    let small = |text: &str| text.parse::<u32>().unwrap();
    let rows = server.query(sql).unwrap().into_iter().map(|row| {
        let holds_page = row[2] == "FILE_PAGE";
        let id = holds_page.then(|| (small(&row[4]), small(&row[5])));
        let reported = Reported {
            state: row[2].clone(),
            id,
            // MariaDB's descriptors have none; it reports what the frame has.
            newest_lsn: if holds_page && !is_mariadb { number(&row[6]) } else { 0 },
            oldest_lsn: if holds_page { number(&row[7]) } else { 0 },
            io_fix: row[3].clone(),
            freed: is_mariadb && id == Some((0, 0)) && row[8] == "UNKNOWN",
            clean: u64::from(is_mariadb),
        };
        ((small(&row[0]), small(&row[1])), reported)
    });
    rows.collect()
}

impl Reported {
    /// The states that the list may give this block.
    pub(crate) fn states(&self) -> &'static [&'static str] {
        match (self.state.as_str(), self.io_fix.as_str()) {
            ("FILE_PAGE", "IO_READ" | "IO_WRITE") => &["io"],
            ("FILE_PAGE", _) if self.freed => &["clean", "dirty"],
            ("FILE_PAGE", _) if self.oldest_lsn > self.clean => &["dirty"],
            ("FILE_PAGE", _) => &["clean"],
            ("NOT_USED" | "READY_FOR_USE", _) => &["free"],
            ("MEMORY", _) => &["memory"],
            ("REMOVE_HASH", _) => &["evicting"],
            _ => &[],
        }
    }
}

/// Whether a page belongs to a session's temporary tablespace, in which 9.7 builds an answer
/// (`s_min_temp_space_id` and the 400,000 ids from there, dict0dict.h).
pub(crate) fn is_scratch(id: Option<(u32, u32)>) -> bool {
    id.is_some_and(|(space, _)| (4_243_767_280..4_244_167_280).contains(&space))
}
