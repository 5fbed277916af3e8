//! Servers with pages of 4 KiB (one frame), 8 KiB (two) and 64 KiB.

use page_wire::{Bounds, List};
use test_servers::{Config, PageSize, Release, Server};

use crate::content::assert_files_hold;
use crate::lab::{eventually, observe, on_each_mysql, on_one_mariadb, settle, start};
use crate::listed::{eligible, list};
use crate::under_load::assert_table_is_true;

/// About 5 MB of rows, made and changed under the probes.
pub(crate) fn fill(server: &Server, table: &str, options: &str) {
    let double = format!("INSERT INTO {table} (b) SELECT b FROM {table};");
    let sql = format!(
        "CREATE DATABASE IF NOT EXISTS shop;
         CREATE TABLE {table} (a INT PRIMARY KEY AUTO_INCREMENT, b VARCHAR(250)) {options};
         INSERT INTO {table} (b) VALUES (REPEAT('poolferry ', 25)); {}
         UPDATE {table} SET b = CONCAT('x', b) WHERE a % 7 = 0;",
        double.repeat(14)
    );
    server.query(&sql).unwrap();
}

fn observe_pages_of(release: Release, size: PageSize) {
    let server = start(release, Config::new().pool_mib(32).page_size(size));
    // A profile is proven by pages. At the kernel's word that memory is short, MariaDB gives up all that nobody uses.
    if release.is_mariadb() {
        fill(&server, "shop.first", "");
    }
    settle(&server);
    if release.is_mariadb() {
        server.query("SELECT SUM(LENGTH(b)) FROM shop.first").unwrap();
    }
    let mut observer = observe(&server);
    assert_eq!(observer.server().pool_map.page_size, size.bytes());
    fill(&server, "shop.t", "");
    observer.audit().unwrap();
    settle(&server);
    observer.audit().unwrap();
    assert_table_is_true(&observer);
    assert_eq!(observer.audited().drift, 0);

    assert_files_hold(&server, (2 << 20) / size.bytes() as usize / 2);
    let frames = usize::try_from(size.bytes() / 4096).unwrap();
    let rows = list(observer.server(), Some(observer.residency()));
    assert!(rows.iter().all(|row| row.gpas.len() == frames));
    let bytes = u64::from(size.bytes());
    let aligned = |offset: Option<u64>| offset.is_some_and(|offset| offset % bytes == 0);
    assert!(eligible(&rows).all(|row| aligned(row.file_offset)));
    // A server that is short of memory gives clean pages up (MariaDB, at the kernel's word), and may be at work on others.
    let (mut in_table, mut binary) = (0, Vec::new());
    let has_it = eventually(|| {
        server.query("SELECT SUM(LENGTH(b)) FROM shop.t").unwrap();
        let rows = list(observer.server(), Some(observer.residency()));
        let of_table =
            eligible(&rows).filter(|row| row.file.as_ref().unwrap().ends_with("/shop/t.ibd"));
        in_table = of_table.count() as u64;
        binary.clear();
        observer.page_list().unwrap().write(&mut binary).unwrap();
        in_table * bytes > 4 << 20
    });
    assert!(has_it, "{in_table} pages of the table");
    let parsed = List::parse(&binary, Bounds::ANY).unwrap();
    assert_eq!(parsed.facts().page_size, size.bytes());
    let listed: u64 = parsed.runs().map(|run| run.bytes()).sum();
    assert_eq!(listed, parsed.facts().pages * bytes);
    assert!(parsed.facts().pages > in_table, "{:?}", parsed.facts());
}

fn pages_of_4_kib(release: Release) {
    observe_pages_of(release, PageSize::K4);
}

fn pages_of_8_kib(release: Release) {
    observe_pages_of(release, PageSize::K8);
}

fn pages_of_64_kib(release: Release) {
    observe_pages_of(release, PageSize::K64);
}

on_each_mysql!(pages_of_4_kib, pages_of_8_kib);
on_one_mariadb!(
    pages_of_4_kib: pages_of_mariadb_of_4_kib,
    pages_of_64_kib: pages_of_mariadb_of_64_kib,
);
