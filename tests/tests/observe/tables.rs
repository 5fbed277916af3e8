//! Tables that are compressed, dropped, truncated or renamed while the server is observed.

use std::collections::BTreeMap;

use test_servers::{Config, Release, Server};
use userspace::observer::Observer;

use crate::content::assert_files_hold_the_frames;
use crate::lab::{observe, on_each_mysql, on_one_mariadb, settle, start};
use crate::listed::{Listed, list};
use crate::page_sizes::fill;
use crate::under_load::assert_table_is_true;

fn barracuda(release: Release) -> Config {
    let config = Config::new().pool_mib(64);
    match release {
        // Later ones have no other format.
        Release::Mysql56 => config.option("innodb_file_format=Barracuda"),
        _ => config,
    }
}

/// Space id of a table (`shop/t`), as the server's dictionary has it.
pub(crate) fn space_id(server: &Server, release: Release, name: &str) -> u32 {
    let tables = match release {
        Release::Mysql97 => "INNODB_TABLES",
        _ => "INNODB_SYS_TABLES",
    };
    let sql = format!("SELECT SPACE FROM information_schema.{tables} WHERE NAME = '{name}'");
    server.query_one(&sql).unwrap().parse().unwrap()
}

/// Pages of a space, as the agent lists them now.
pub(crate) fn pages_in(observer: &Observer, space: u32) -> Vec<Listed> {
    let rows = list(observer.server(), Some(observer.residency()));
    rows.into_iter().filter(|row| row.space == Some(space)).collect()
}

/// Pages of the file that ends with `name`, as the agent lists them now.
pub(crate) fn pages_of(observer: &Observer, name: &str) -> Vec<Listed> {
    let rows = list(observer.server(), Some(observer.residency()));
    rows.into_iter().filter(|row| row.file.as_ref().is_some_and(|f| f.ends_with(name))).collect()
}

pub(crate) fn eligible(pages: &[Listed]) -> usize {
    pages.iter().filter(|row| row.eligible).count()
}

/// How many pages there are for each reason not to be eligible.
pub(crate) fn reasons(pages: &[Listed]) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    for row in pages {
        *reasons.entry(row.reason.clone().unwrap_or_else(|| "eligible".to_owned())).or_default() +=
            1;
    }
    reasons
}

pub(crate) fn assert_true_and_without_drift(observer: &mut Observer) {
    observer.audit().unwrap();
    assert_table_is_true(observer);
    assert_eq!(observer.audited().drift, 0, "{:?}", observer.audited());
}

/// Their frames are on no disk; what lies there is the compressed copy.
fn pages_of_compressed_tables_are_never_eligible(release: Release) {
    let server = start(release, barracuda(release));
    let mut observer = observe(&server);
    fill(&server, "shop.packed", "ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8");
    fill(&server, "shop.plain", "");
    for settled in [false, true] {
        if settled {
            settle(&server);
        }
        assert_true_and_without_drift(&mut observer);
        let packed = pages_in(&observer, space_id(&server, release, "shop/packed"));
        let reasons = reasons(&packed);
        println!("{reasons:?}");
        assert!(packed.len() > 50, "{reasons:?}");
        // They are called by their file, though it has no place for them. MariaDB writes nothing into a new file before it writes
        // its pages.
        let unnamed = packed
            .iter()
            .filter(|row| row.file.as_ref().is_none_or(|file| !file.ends_with("/shop/packed.ibd")));
        let unnamed = unnamed.count();
        let may_be = release == Release::Mariadb && !settled;
        assert!(unnamed == 0 || may_be, "{unnamed} pages of the compressed table without its file");
        assert_eq!(eligible(&packed), 0, "{reasons:?}");
    }
    assert!(eligible(&pages_of(&observer, "/shop/plain.ibd")) > 200);
}

/// Dropped clean, dropped dirty, dropped and made again under the same name.
fn pages_of_dropped_tables_are_never_eligible(release: Release) {
    let server = start(release, Config::new().pool_mib(64));
    let mut observer = observe(&server);
    for written in [true, false] {
        fill(&server, "shop.t", "");
        if written {
            settle(&server);
            assert!(eligible(&pages_of(&observer, "/shop/t.ibd")) > 200);
        }
        let space = space_id(&server, release, "shop/t");
        server.query("DROP TABLE shop.t").unwrap();
        assert_eq!(eligible(&pages_in(&observer, space)), 0, "dropped after a flush: {written}");
        assert_true_and_without_drift(&mut observer);
        fill(&server, "shop.t", "");
        assert_eq!(eligible(&pages_in(&observer, space)), 0, "made again; flushed: {written}");
        server.query("DROP TABLE shop.t").unwrap();
    }
    settle(&server);
    assert_true_and_without_drift(&mut observer);
    assert_files_hold_the_frames(&server);
}

fn truncated_tables_are_listed_as_they_are(release: Release) {
    let server = start(release, Config::new().pool_mib(64));
    let mut observer = observe(&server);
    fill(&server, "shop.t", "");
    settle(&server);
    let space = space_id(&server, release, "shop/t");
    server.query("TRUNCATE TABLE shop.t").unwrap();
    let left = pages_of(&observer, "/shop/t.ibd");
    assert!(eligible(&left) < 10, "{} pages of an empty table", eligible(&left));
    if space_id(&server, release, "shop/t") != space {
        assert_eq!(eligible(&pages_in(&observer, space)), 0);
    }
    server.query("INSERT INTO shop.t (b) VALUES ('again')").unwrap();
    settle(&server);
    assert_true_and_without_drift(&mut observer);
    assert_files_hold_the_frames(&server);
}

fn renamed_tables_are_found_in_their_files(release: Release) {
    let server = start(release, Config::new().pool_mib(64));
    let mut observer = observe(&server);
    fill(&server, "shop.t", "");
    settle(&server);
    let before = eligible(&pages_of(&observer, "/shop/t.ibd"));
    assert!(before > 200, "{before}");
    server.query("CREATE DATABASE store; RENAME TABLE shop.t TO store.goods").unwrap();
    assert_eq!(pages_of(&observer, "/shop/t.ibd"), []);
    assert!(eligible(&pages_of(&observer, "/store/goods.ibd")) > 200);
    settle(&server);
    assert_eq!(eligible(&pages_of(&observer, "/store/goods.ibd")), before);
    assert_true_and_without_drift(&mut observer);
    assert_files_hold_the_frames(&server);
}

on_each_mysql!(
    pages_of_compressed_tables_are_never_eligible,
    pages_of_dropped_tables_are_never_eligible,
    truncated_tables_are_listed_as_they_are,
    renamed_tables_are_found_in_their_files,
);
on_one_mariadb!(
    pages_of_compressed_tables_are_never_eligible: compressed_pages_of_mariadb_are_never_eligible,
    pages_of_dropped_tables_are_never_eligible: dropped_pages_of_mariadb_are_never_eligible,
    truncated_tables_are_listed_as_they_are: truncated_tables_of_mariadb_are_listed_as_they_are,
    renamed_tables_are_found_in_their_files: renamed_tables_of_mariadb_are_found_in_their_files,
);
