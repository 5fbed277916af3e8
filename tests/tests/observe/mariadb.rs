//! What MariaDB does with pages that MySQL does not, or does in another way.

use std::fs;
use std::thread;

use test_servers::{Config, LoadSpec, Release, Script, skipped};
use userspace::observer::Observer;

use crate::content::{assert_files_hold, assert_files_hold_the_frames};
use crate::lab::{DATA, eventually, observe, on_one_mariadb, settle, start, status, touch_all};
use crate::page_sizes::fill;
use crate::tables::{
    assert_true_and_without_drift, eligible, pages_in, pages_of, reasons, space_id,
};
use crate::under_load::assert_table_is_true;

/// `SRV_TMP_SPACE_ID`, srv0srv.h.
const TEMPORARY: u32 = 0xffff_fffe;

/// Changed without an event, in a file that nobody reads again.
fn temporary_pages_are_never_eligible(release: Release) {
    let server = start(release, Config::new().pool_mib(64));
    let mut observer = observe(&server);
    let double = "INSERT INTO test.t (b) SELECT b FROM test.t;".repeat(13);
    let sql = format!(
        "CREATE DATABASE test;
         CREATE TEMPORARY TABLE test.t (a INT PRIMARY KEY AUTO_INCREMENT, b VARCHAR(250)) ENGINE=InnoDB;
         INSERT INTO test.t (b) VALUES (REPEAT('poolferry ', 25)); {double}
         SELECT SLEEP(2); UPDATE test.t SET b = REVERSE(b); SELECT SLEEP(1);"
    );
    thread::scope(|scope| {
        let session = scope.spawn(|| server.query(&sql).unwrap());
        let mut most = 0;
        while !session.is_finished() {
            let pages = pages_in(&observer, TEMPORARY);
            most = most.max(pages.len());
            assert_eq!(eligible(&pages), 0, "{:?}", reasons(&pages));
            observer.audit().unwrap();
        }
        assert!(most > 100, "{most} temporary pages");
    });
    let drift = observer.audited().drift;
    assert_eq!(drift, 0, "{:?}", observer.audited());
    settle(&server);
    assert_files_hold_the_frames(&server);
}

/// On disk is what zlib made of them, and a hole.
fn page_compressed_tables_are_never_eligible(release: Release) {
    let server = start(release, Config::new().pool_mib(64));
    let mut observer = observe(&server);
    fill(&server, "shop.packed", "PAGE_COMPRESSED=1");
    fill(&server, "shop.plain", "");
    for settled in [false, true] {
        if settled {
            settle(&server);
        }
        assert_true_and_without_drift(&mut observer);
        let packed = pages_in(&observer, space_id(&server, release, "shop/packed"));
        println!("{:?}", reasons(&packed));
        assert!(packed.len() > 200, "{:?}", reasons(&packed));
        assert_eq!(eligible(&packed), 0, "{:?}", reasons(&packed));
    }
    assert!(eligible(&pages_of(&observer, "/shop/plain.ibd")) > 200);
    assert_files_hold_the_frames(&server);
    server.query("ALTER TABLE shop.packed PAGE_COMPRESSED=0, ALGORITHM=COPY").unwrap();
    settle(&server);
    assert!(eligible(&pages_of(&observer, "/shop/packed.ibd")) > 200, "it is plain now");
    assert_files_hold_the_frames(&server);
}

/// On disk is what the key made of them, also of a table that had been there before there was a key.
fn encrypted_tables_are_never_eligible(release: Release) {
    let plugins = match release.plugins() {
        Ok(plugins) => plugins,
        Err(error) => return skipped("encrypted_tables_are_never_eligible", format!("{error:#}")),
    };
    let options = [
        "plugin_dir=/scratch",
        "plugin_load_add=file_key_management",
        "loose_file_key_management_filename=/scratch/keys",
        "innodb_encryption_threads=1",
    ];
    let config = options.into_iter().fold(Config::new().pool_mib(64), Config::option);
    let mut server = start(release, config);
    // The folder is there now. Without its plugin a server encrypts nothing.
    let plugin = "file_key_management.so";
    fs::copy(plugins.join(plugin), server.scratch().join(plugin)).unwrap();
    fs::write(server.scratch().join("keys"), format!("1;{}\n", "0123456789abcdef".repeat(4)))
        .unwrap();
    server.shut_down().unwrap();
    server.start_again().unwrap();
    let mut observer = observe(&server);
    fill(&server, "shop.secret", "ENCRYPTED=YES");
    fill(&server, "shop.both", "ENCRYPTED=YES PAGE_COMPRESSED=1");
    fill(&server, "shop.plain", "ENCRYPTED=NO");
    fill(&server, "shop.later", "");
    for settled in [false, true] {
        if settled {
            settle(&server);
        }
        assert_true_and_without_drift(&mut observer);
        for table in ["shop/secret", "shop/both"] {
            let secret = pages_in(&observer, space_id(&server, release, table));
            println!("{table}: {:?}", reasons(&secret));
            assert!(secret.len() > 200, "{table}: {:?}", reasons(&secret));
            assert_eq!(eligible(&secret), 0, "{table}: {:?}", reasons(&secret));
        }
    }
    for table in ["/shop/plain.ibd", "/shop/later.ibd"] {
        assert!(eligible(&pages_of(&observer, table)) > 200, "{table}");
    }
    assert_files_hold_the_frames(&server);
    // A thread encrypts what has no say of its own, page by page, while it is observed.
    server.query("SET GLOBAL innodb_encrypt_tables=ON").unwrap();
    let encrypted = "SELECT COUNT(*) FROM information_schema.INNODB_TABLESPACES_ENCRYPTION
                     WHERE NAME = 'shop/later' AND MIN_KEY_VERSION > 0";
    let done = eventually(|| {
        assert_all_true(&mut observer);
        server.query_one(encrypted).unwrap() == "1"
    });
    assert!(done, "the table is not encrypted");
    assert_files_hold_the_frames(&server);
    settle(&server);
    let later = pages_of(&observer, "/shop/later.ibd");
    assert_eq!(eligible(&later), 0, "{:?}", reasons(&later));
    assert_files_hold_the_frames(&server);
}

/// The file of a table is taken away, and an older one put in its place.
fn imported_tables_are_listed_as_they_are(release: Release) {
    let server = start(release, Config::new().pool_mib(64));
    let mut observer = observe(&server);
    fill(&server, "shop.t", "");
    settle(&server);
    let file = server.datadir().join("shop/t.ibd");
    let kept = server.scratch().join("kept.ibd");
    fs::copy(&file, &kept).unwrap();
    server.query("UPDATE shop.t SET b = REVERSE(b)").unwrap();
    let space = space_id(&server, release, "shop/t");
    server.query("ALTER TABLE shop.t DISCARD TABLESPACE").unwrap();
    assert_eq!(eligible(&pages_in(&observer, space)), 0, "the space has no file");
    assert_true_and_without_drift(&mut observer);
    fs::copy(&kept, &file).unwrap();
    server.query("ALTER TABLE shop.t IMPORT TABLESPACE").unwrap();
    assert_true_and_without_drift(&mut observer);
    let sum = "SELECT COUNT(*) FROM shop.t WHERE b LIKE '%poolferry%'";
    assert_eq!(server.query_one(sum).unwrap(), "16384");
    assert_files_hold_the_frames(&server);
    settle(&server);
    assert!(eligible(&pages_of(&observer, "/shop/t.ibd")) > 200);
    assert_true_and_without_drift(&mut observer);
    assert_files_hold_the_frames(&server);
}

/// Undo tablespaces are made shorter in place, under the same id.
fn truncated_undo_is_listed_as_it_is(release: Release) {
    let options = [
        "innodb_undo_log_truncate=1",
        "innodb_max_undo_log_size=10M",
        "innodb_purge_rseg_truncate_frequency=1",
    ];
    let config = Config::new().pool_mib(64).at_creation("innodb_undo_tablespaces=3");
    let server = start(release, options.into_iter().fold(config, Config::option));
    let mut observer = observe(&server);
    fill(&server, "shop.t", "");
    let truncated = |updates: &mut u32| {
        server.query("UPDATE shop.t SET b = REVERSE(b)").unwrap();
        *updates += 1;
        assert_all_true(&mut observer);
        status(&server, "Innodb_undo_truncations") > 0
    };
    let mut updates = 0;
    let mut truncated = truncated;
    assert!(eventually(|| truncated(&mut updates)), "no undo tablespace was truncated");
    println!("truncated after {updates} updates");
    settle(&server);
    assert_true_and_without_drift(&mut observer);
    assert_files_hold_the_frames(&server);
}

/// While the server works: no drift.
fn assert_all_true(observer: &mut Observer) {
    observer.audit().unwrap();
    assert_eq!(observer.audited().drift, 0, "{:?}", observer.audited());
}

/// Pages that are read are changed in the same breath by what was buffered for them.
fn merged_changes_are_seen(release: Release) {
    let config = Config::new().pool_mib(16).option("innodb_change_buffering=all").sysbench(DATA);
    let server = start(release, config);
    touch_all(&server);
    let mut observer = observe(&server);
    let load = server.load(&LoadSpec::new(Script::ReadWrite, 4).seconds(4).uniform()).unwrap();
    let merges = || status(&server, "Innodb_ibuf_merges");
    while load_runs(&load) {
        assert_all_true(&mut observer);
    }
    load.wait().unwrap();
    settle(&server);
    println!("{} merges", merges());
    assert!(merges() > 10, "{} merges", merges());
    observer.audit().unwrap();
    assert_table_is_true(&observer);
    assert_eq!(observer.audited().drift, 0, "{:?}", observer.audited());
    assert_files_hold(&server, 20);
}

/// Whether a load of four seconds has not come to its last one.
fn load_runs(load: &test_servers::Load) -> bool {
    thread::sleep(std::time::Duration::from_millis(100));
    load.seconds().len() < 4
}

on_one_mariadb!(
    temporary_pages_are_never_eligible: temporary_pages,
    page_compressed_tables_are_never_eligible: page_compressed_tables,
    encrypted_tables_are_never_eligible: encrypted_tables,
    imported_tables_are_listed_as_they_are: imported_tables,
    truncated_undo_is_listed_as_it_is: truncated_undo,
    merged_changes_are_seen: merged_changes,
);
