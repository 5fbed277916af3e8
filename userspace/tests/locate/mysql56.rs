//! MySQL 5.6.24: its own dictionary is the oracle.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use test_servers::{Config, Server};
use userspace::locate::{Locator, NotOnDisk, PageNo, SpaceId};
use userspace::on_disk::Unmapped;

use crate::disk_bytes::{compare, readable};

/// A server whose system tablespace has two files, with a folder beside it for `DATA DIRECTORY`.
fn server() -> Server {
    let config = Config::new()
        .at_creation("innodb_data_file_path=ibdata1:10M;ibdata2:10M:autoextend")
        .option("innodb_file_format=Barracuda")
        .option("innodb_file_per_table=1");
    Server::mysql56(config).unwrap()
}

/// Space id and path (made absolute) of every table's file, as the server's dictionary has them.
fn dictionary(server: &Server) -> BTreeMap<u32, PathBuf> {
    let rows = server.query("SELECT space, path FROM information_schema.innodb_sys_datafiles");
    let paths = rows.unwrap().into_iter().map(|row| {
        let path = server.datadir().join(row[1].trim_start_matches("./"));
        (row[0].parse().unwrap(), path)
    });
    paths.collect()
}

fn space_of(server: &Server, name: &str) -> SpaceId {
    let sql =
        format!("SELECT space FROM information_schema.innodb_sys_tablespaces WHERE name='{name}'");
    SpaceId(server.query_one(&sql).unwrap().parse().unwrap())
}

/// Paths by space id, as the files themselves say. A second system file that was never used says
/// nothing.
fn found(locator: &Locator) -> BTreeMap<u32, PathBuf> {
    let files = locator.tablespaces().files();
    let named = files.filter_map(|(_, file)| Some((file.space()?.0, file.path().to_owned())));
    named.filter(|(space, _)| *space != SpaceId::SYSTEM.0).collect()
}

/// Statements that make a table `t` of `2^doublings` rows of 254 bytes.
pub(crate) fn filled(database: &str, doublings: usize) -> String {
    let double = format!(
        "INSERT INTO {database}.t SELECT a + (SELECT MAX(a) FROM {database}.t), b FROM {database}.t;"
    );
    format!(
        "CREATE DATABASE {database}; CREATE TABLE {database}.t (a INT PRIMARY KEY, b CHAR(250));
         INSERT INTO {database}.t VALUES (1, 'x'); {}",
        double.repeat(doublings)
    )
}

/// Waits until the server has written out everything, so that files and disk stand still.
pub(crate) fn settle(server: &Server) {
    server.query("SET GLOBAL innodb_max_dirty_pages_pct=0").unwrap();
    let dirty = "SHOW GLOBAL STATUS LIKE 'innodb_buffer_pool_pages_dirty'";
    let since = std::time::Instant::now();
    while server.query(dirty).unwrap()[0][1] != "0" {
        assert!(since.elapsed().as_secs() < 60, "the pool does not become clean");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Every tablespace of the dictionary is found in its file, wherever that is, and no other.
#[test]
fn spaces_agree_with_the_dictionary() {
    let server = server();
    let elsewhere = tempfile::tempdir().unwrap();
    server
        .query(&format!(
            "CREATE DATABASE shop; USE shop;
             CREATE TABLE plain (a INT PRIMARY KEY, b CHAR(200));
             CREATE TABLE moved (a INT PRIMARY KEY) DATA DIRECTORY='{}';
             CREATE TABLE packed (a INT PRIMARY KEY) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8;
             CREATE TABLE parted (a INT PRIMARY KEY) PARTITION BY HASH (a) PARTITIONS 3;
             CREATE TABLE `odd-name.1` (a INT PRIMARY KEY);",
            elsewhere.path().display()
        ))
        .unwrap();
    let mut locator = Locator::open(server.pid()).unwrap();
    assert_eq!(found(&locator), dictionary(&server));

    let first_use = |name: &str| locator.locate(space_of(&server, name), PageNo(3));
    assert!(first_use("shop/plain").is_ok());
    assert!(first_use("shop/moved").is_ok());
    assert_eq!(first_use("shop/packed"), Err(NotOnDisk::Compressed));
    let plain = space_of(&server, "shop/plain");
    assert_eq!(locator.locate(plain, PageNo(0)), Err(NotOnDisk::FirstPage));
    assert_eq!(locator.locate(plain, PageNo(1 << 20)), Err(NotOnDisk::File(Unmapped::BeyondEof)));
    assert_eq!(locator.locate(SpaceId(4_000_000), PageNo(3)), Err(NotOnDisk::SpaceNotOpen));
    assert_eq!(locator.locate(SpaceId(0xffff_fffd), PageNo(3)), Err(NotOnDisk::Temporary));

    let mut names: Vec<_> = locator.tablespaces().files().map(|(_, file)| file.name()).collect();
    names.retain(|name| name.starts_with("shop/"));
    names.sort_unstable();
    let partitions = ["shop/parted#P#p0", "shop/parted#P#p1", "shop/parted#P#p2"];
    assert_eq!(names[..2], ["shop/moved", "shop/odd-name.1"]);
    assert_eq!(names[2..], [&["shop/packed"], &partitions[..], &["shop/plain"]].concat());

    // The server closes a table's file when it wants to: the file is still found, by its name.
    server.query("FLUSH TABLES").unwrap();
    server.stop().unwrap();
    assert!(locator.refresh().is_err(), "a server that has ended has no files");
}

/// Dropped, truncated and renamed tables: each is seen at the next look, none is taken for another.
#[test]
fn files_that_change_are_followed() {
    let server = server();
    server
        .query(
            "CREATE DATABASE shop; USE shop;
             CREATE TABLE t1 (a INT PRIMARY KEY); CREATE TABLE t2 (a INT PRIMARY KEY);
             CREATE TABLE t3 (a INT PRIMARY KEY, b CHAR(250)); INSERT INTO t1 VALUES (1);",
        )
        .unwrap();
    let mut locator = Locator::open(server.pid()).unwrap();
    let ids = ["shop/t1", "shop/t2", "shop/t3"].map(|name| space_of(&server, name));
    assert_eq!(locator.refresh().unwrap(), Default::default());

    server
        .query(
            "USE shop; DROP TABLE t2; RENAME TABLE t3 TO t4; TRUNCATE TABLE t1;
             CREATE TABLE t5 (a INT PRIMARY KEY);",
        )
        .unwrap();
    let changes = locator.refresh().unwrap();
    assert_eq!((changes.added, changes.removed, changes.renamed), (2, 2, 1), "{changes:?}");
    assert_eq!(found(&locator), dictionary(&server));
    assert_eq!(locator.locate(ids[1], PageNo(3)), Err(NotOnDisk::SpaceNotOpen));
    let emptied = space_of(&server, "shop/t1");
    assert_ne!(emptied, ids[0], "5.6 gives a truncated table another id");
    assert!(locator.locate(emptied, PageNo(3)).is_ok());
    assert_eq!(locator.locate(ids[0], PageNo(3)), Err(NotOnDisk::SpaceNotOpen));
    let renamed = locator.tablespaces().files_of(ids[2]).next().unwrap();
    assert_eq!(renamed.name(), "shop/t4");

    let double = "INSERT INTO shop.t4 SELECT a + (SELECT MAX(a) FROM shop.t4), b FROM shop.t4;";
    server.query(&format!("INSERT INTO shop.t4 VALUES (1, 'x'); {}", double.repeat(12))).unwrap();
    let before = renamed.size_bytes();
    assert!(locator.refresh().unwrap().resized >= 1);
    let grown = locator.tablespaces().files_of(ids[2]).next().unwrap().size_bytes();
    assert!(grown > before, "{before} -> {grown}");
    let last = u32::try_from(grown / 16384 - 1).unwrap();
    assert!(locator.locate(ids[2], PageNo(last)).is_ok());
    assert_eq!(locator.locate(ids[2], PageNo(last + 1)), Err(NotOnDisk::File(Unmapped::BeyondEof)));
}

/// The system tablespace goes on in its second file, and its pages there say so themselves.
#[test]
fn the_system_tablespace_has_two_files() {
    let server = server();
    let pages = |locator: &Locator| {
        let files = locator.tablespaces().files_of(SpaceId::SYSTEM);
        files.map(|file| (file.path().to_owned(), file.size_bytes())).collect::<Vec<_>>()
    };
    server.query("SET GLOBAL innodb_file_per_table=0").unwrap();
    server.query(&filled("shop", 16)).unwrap();
    settle(&server);
    let mut locator = Locator::open(server.pid()).unwrap();
    let files = pages(&locator);
    let names: Vec<_> =
        files.iter().map(|(path, _)| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["ibdata1", "ibdata2"]);
    let boundary = u32::try_from(files[0].1 / 16384).unwrap();
    assert_eq!(boundary, 640);
    assert_eq!(locator.locate(SpaceId::SYSTEM, PageNo(boundary)), Err(NotOnDisk::FirstPage));

    let end = boundary + u32::try_from(files[1].1 / 16384).unwrap();
    let (mut first, mut second) = (0, 0);
    // The doublewrite buffer, two extents of copies of other pages (buf0dblwr.cc), is never resident.
    let doublewrite = 64..192;
    for page in (1..end).filter(|page| *page != boundary && !doublewrite.contains(page)) {
        let place = locator.locate(SpaceId::SYSTEM, PageNo(page)).unwrap();
        let file = File::open(locator.tablespaces().file(place.file).unwrap().path()).unwrap();
        let mut number = [0; 4];
        file.read_exact_at(&mut number, place.offset.0 + 4).unwrap();
        match u32::from_be_bytes(number) {
            0 => {} // never written
            number => {
                assert_eq!(number, page);
                *if page < boundary { &mut first } else { &mut second } += 1;
            }
        }
    }
    println!("system tablespace: {first} pages checked in ibdata1, {second} in ibdata2");
    assert!(first > 100 && second > 100);
    assert_eq!(
        locator.locate(SpaceId::SYSTEM, PageNo(end)),
        Err(NotOnDisk::File(Unmapped::BeyondEof))
    );
    assert!(locator.refresh().is_ok());
}

/// At rest every page with a place has its bytes there, on the machine's own disk.
#[test]
fn whole_disk_holds_the_pages() {
    let server = server();
    server.query(&filled("shop", 14)).unwrap();
    settle(&server);
    let mut locator = Locator::open(server.pid()).unwrap();
    if let Err(reason) = readable(&mut locator) {
        test_servers::skipped("whole_disk_holds_the_pages", reason);
        return;
    }
    let counts = compare(&mut locator, Path::to_owned);
    println!("{counts:?}");
    assert_eq!(counts.different, []);
    assert!(counts.equal > 1000, "{counts:?}");
}
