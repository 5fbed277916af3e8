//! A server whose pool is full of clean pages that were read in no particular order.
//!
//! sysbench would take a quarter of an hour for 8 GiB. A table that is copied into itself takes a
//! minute, two wide rows a page. It is then read in random order after a restart: pages that lie in
//! the pool as they lie in the file would make lists cheaper than they are.

use std::thread;

use anyhow::{Context, Result, ensure};
use test_servers::{Config, Release, Server};

/// Rows are wide enough for two a page of 16 KiB.
const ROWS_A_PAGE: u64 = 2;
const PAGES_A_MIB: u64 = 64;
/// Connections that read.
const READERS: u64 = 4;

/// A server of `release` with a pool of `pool_mib`, full.
pub(crate) fn full_pool(release: Release, pool_mib: u64) -> Result<Server> {
    let config = ["innodb_flush_log_at_trx_commit=0", "innodb_io_capacity_max=20000"]
        .into_iter()
        .chain(["innodb_io_capacity=20000", "skip_innodb_doublewrite"])
        .fold(Config::new().pool_mib(pool_mib).instances(1), Config::option);
    let mut server = Server::start(release, config)?;
    server.query(
        "CREATE DATABASE fill; CREATE TABLE fill.t (id INT PRIMARY KEY, pad VARCHAR(8000) NOT NULL) \
         ENGINE=InnoDB CHARSET=latin1; INSERT INTO fill.t VALUES (0, REPEAT('x', 7900))",
    )?;
    let wanted = pool_mib * PAGES_A_MIB * ROWS_A_PAGE;
    let mut rows = 1;
    while rows < wanted {
        // The last copy only as far as needed, for a pool that is no power of two.
        let limit = rows.min(wanted - rows);
        server.query(&format!(
            "INSERT INTO fill.t SELECT id + {rows}, pad FROM fill.t WHERE id < {limit}"
        ))?;
        rows += limit;
    }
    // MyISAM, so that the order itself takes no room in the pool; before the restart, as it is
    // made by reading the table from end to end.
    server.query(&format!(
        "CREATE TABLE fill.o (id INT NOT NULL, reader INT NOT NULL) ENGINE=MyISAM; \
         INSERT INTO fill.o SELECT id, FLOOR(RAND() * {READERS}) FROM fill.t \
         WHERE id % {ROWS_A_PAGE} = 0 ORDER BY RAND()"
    ))?;
    server.shut_down()?;
    server.start_again()?;
    read_in_random_order(&server)?;
    let free: u64 = status(&server, "Innodb_buffer_pool_pages_free")?;
    let total: u64 = status(&server, "Innodb_buffer_pool_pages_total")?;
    ensure!(free * 50 < total, "the pool is not full: {free} of {total} blocks are free");
    Ok(server)
}

fn read_in_random_order(server: &Server) -> Result<()> {
    server.query("SET GLOBAL innodb_old_blocks_time = 0")?;
    thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                let sql = format!(
                    "SELECT SUM(LENGTH(t.pad)) FROM fill.o STRAIGHT_JOIN fill.t ON t.id = o.id \
                     WHERE o.reader = {reader}"
                );
                scope.spawn(move || server.query(&sql))
            })
            .collect();
        for reader in readers {
            reader.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??;
        }
        Ok(())
    })
}

/// A status variable of the server.
pub(crate) fn status(server: &Server, name: &str) -> Result<u64> {
    let rows = server.query(&format!("SHOW GLOBAL STATUS LIKE '{name}'"))?;
    let value = rows.first().and_then(|row| row.get(1));
    value.and_then(|value| value.parse().ok()).with_context(|| format!("no status `{name}`"))
}
