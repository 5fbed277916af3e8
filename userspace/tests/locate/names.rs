//! Names of tables, as the server's own client shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use test_servers::{Config, Release, Server, skipped};
use userspace::locate::{Locator, decode_file_name};

fn start(test: &'static str, release: Release, config: Config) -> Option<Server> {
    if release != Release::Mysql56 && !rustix::process::geteuid().is_root() {
        skipped(test, "the server wants root");
        return None;
    }
    match release.installed() {
        Ok(_) => Some(Server::start(release, config).unwrap()),
        Err(error) => {
            skipped(test, format_args!("{error:#}"));
            None
        }
    }
}

/// Name and whether it is open, of each file whose name has `part`.
fn named(locator: &Locator, part: &str) -> BTreeMap<String, bool> {
    let files = locator.tablespaces().files().map(|(_, file)| (file.name(), file.is_open()));
    files.filter(|(name, _)| name.contains(part)).map(|(name, open)| (name.into(), open)).collect()
}

/// What the server makes of every character of the first plane, turned back.
#[test]
fn every_character_of_5_6_is_decoded() {
    const TEST: &str = "every_character_of_5_6_is_decoded";
    let Some(server) = start(TEST, Release::Mysql56, Config::new()) else { return };
    let digits: String = (1..16).map(|n| format!(" UNION ALL SELECT {n}")).collect();
    server.query(&format!("CREATE DATABASE d; CREATE TABLE d.d AS SELECT 0 n{digits}")).unwrap();
    let number = "a.n*4096 + b.n*256 + c.n*16 + e.n";
    let rows = server
        .query(&format!(
            "SELECT {number}, HEX(CONVERT(CONVERT(CONVERT(UNHEX(LPAD(HEX({number}),4,'0'))
             USING ucs2) USING filename) USING binary)) FROM d.d a, d.d b, d.d c, d.d e"
        ))
        .unwrap();
    assert_eq!(rows.len(), 0x1_0000);
    let mut checked = 0;
    for row in rows {
        let number: u32 = row[0].parse().unwrap();
        // A surrogate is no character, and a name has no zero.
        let Some(character) = char::from_u32(number).filter(|c| *c != '\0') else { continue };
        let name: Vec<u8> = (0..row[1].len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&row[1][at..at + 2], 16).unwrap())
            .collect();
        let shown = String::from_utf8_lossy(&name).into_owned();
        let decoded = decode_file_name(OsStr::from_bytes(&name));
        assert_eq!(decoded, character.to_string(), "U+{number:04X} is `{shown}`");
        checked += 1;
    }
    assert_eq!(checked, 0x1_0000 - 0x800 - 1);
}

/// The same of the folders of databases, which 9.7 does not show by SQL: all letters that have a code of
/// their own, with their neighbours.
#[test]
fn every_letter_of_9_7_is_decoded() {
    const TEST: &str = "every_letter_of_9_7_is_decoded";
    let Some(server) = start(TEST, Release::Mysql97, Config::new()) else { return };
    let ranges = [0xa1..0x610, 0x1df0..0x2000, 0x2150..0x2190, 0x24a0..0x24f0, 0xff10..0xff70];
    let letters: Vec<char> = ranges.into_iter().flatten().filter_map(char::from_u32).collect();
    let names: BTreeSet<String> =
        letters.chunks(40).map(|letters| letters.iter().collect()).collect();
    let make = names.iter().map(|name| format!("CREATE DATABASE `{name}`;"));
    let script = make.fold("SET NAMES utf8mb4;".to_owned(), |script, line| script + &line);
    server.query(&script).unwrap();
    let folders = fs::read_dir(server.datadir()).unwrap().map(|entry| entry.unwrap().file_name());
    let found: BTreeSet<String> = folders.map(|name| decode_file_name(&name)).collect();
    let missing: Vec<_> = names.difference(&found).collect();
    assert_eq!(missing, Vec::<&String>::new());
}

/// Tables with letters of all kinds, partitions among them.
#[test]
fn tables_are_called_what_their_owners_call_them() {
    const TEST: &str = "tables_are_called_what_their_owners_call_them";
    for release in [Release::Mysql56, Release::Mysql97] {
        let Some(server) = start(TEST, release, Config::new()) else { continue };
        let names = ["Жук", "café-№5", "naïve", "数据库", "Ωmega ᾳ", "a@b#c.d"];
        let mut script = "SET NAMES utf8; CREATE DATABASE `Книги`; USE `Книги`;".to_owned();
        for name in names {
            script += &format!("CREATE TABLE `{name}` (a INT PRIMARY KEY);");
        }
        script += "CREATE TABLE `разд` (a INT PRIMARY KEY) PARTITION BY RANGE (a) \
                   (PARTITION `часть-1` VALUES LESS THAN (5), PARTITION p2 VALUES LESS THAN (9));";
        server.query(&script).unwrap();
        let locator = Locator::open(server.pid()).unwrap();
        let found = named(&locator, "Книги/");
        for name in names {
            assert!(found.contains_key(&format!("Книги/{name}")), "{release} {name}: {found:?}");
        }
        let part = |name: &&String| name.to_lowercase() == "книги/разд#p#часть-1";
        assert!(found.keys().any(|name| part(&name)), "{release}: {found:?}");
    }
}

/// A database that is a link to a folder elsewhere: the name is the database's, file open or not.
#[test]
fn a_linked_database_keeps_its_name() {
    const TEST: &str = "a_linked_database_keeps_its_name";
    let config = Config::new().option("innodb_open_files=10");
    let Some(server) = start(TEST, Release::Mysql56, config) else { return };
    let elsewhere = tempfile::tempdir().unwrap();
    let folder = elsewhere.path().join("volume7");
    server.query("CREATE DATABASE shop; CREATE DATABASE many").unwrap();
    fs::rename(server.datadir().join("shop"), &folder).unwrap();
    symlink(&folder, server.datadir().join("shop")).unwrap();
    server.query("CREATE TABLE shop.t (a INT PRIMARY KEY); INSERT INTO shop.t VALUES (1)").unwrap();
    let mut locator = Locator::open(server.pid()).unwrap();
    let open = named(&locator, "/t");
    assert_eq!(open, BTreeMap::from([("shop/t".to_owned(), true)]));
    // So many others that the server closes its file.
    for number in 0..30 {
        let make = format!("CREATE TABLE many.n{number} (a INT PRIMARY KEY)");
        server.query(&make).unwrap();
        locator.refresh().unwrap();
        let now = named(&locator, "/t");
        assert_eq!(now.keys().collect::<Vec<_>>(), ["shop/t"], "after {number} others");
        if !now["shop/t"] {
            return;
        }
    }
    panic!("the server never closed its file");
}
