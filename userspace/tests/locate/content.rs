//! A file is what its content proves, whatever its name is: real servers, as people run them.

use std::fs;
use std::path::{Path, PathBuf};

use test_servers::{Config, Release, Server, skipped};
use userspace::locate::{Locator, PageNo, SpaceId};

use crate::file_systems::Observed;
use crate::mysql56::filled;

/// File names of the system tablespace, and what the first of them is called.
fn system(locator: &Locator) -> (Vec<String>, String) {
    let files: Vec<_> = locator.tablespaces().files_of(SpaceId::SYSTEM).collect();
    let names = files
        .iter()
        .map(|file| file.path().file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    (names, files.first().map(|file| file.name().to_owned()).unwrap_or_default())
}

/// Names of all files that say they are space 0.
fn claims(locator: &Locator) -> Vec<String> {
    let files = locator.tablespaces().files();
    let system = files.filter(|(_, file)| file.space() == Some(SpaceId::SYSTEM));
    system
        .map(|(_, file)| file.path().file_name().unwrap().to_string_lossy().into_owned())
        .collect()
}

fn installed(test: &'static str, release: Release) -> bool {
    match release.installed() {
        Ok(_) if release == Release::Mysql56 || rustix::process::geteuid().is_root() => true,
        Ok(_) => {
            skipped(test, "the server wants root");
            false
        }
        Err(error) => {
            skipped(test, format_args!("{error:#}"));
            false
        }
    }
}

/// The binary log is on, as it is by default: its first bytes look like those of a later system file.
#[test]
fn the_binary_log_is_no_part_of_the_system_tablespace() {
    const TEST: &str = "the_binary_log_is_no_part_of_the_system_tablespace";
    if !installed(TEST, Release::Mysql97) {
        return;
    }
    let mut server = Server::mysql97(Config::new()).unwrap();
    for round in 0..3 {
        let binlog = server.query_one("SELECT @@log_bin, @@performance_schema").unwrap();
        assert_eq!(binlog, "1", "the server runs with its binary log");
        server.query(&filled(&format!("shop{round}"), 6)).unwrap();
        let mut locator = Locator::open(server.pid()).unwrap();
        for _ in 0..2 {
            assert_eq!(claims(&locator), ["ibdata1"], "round {round}");
            assert_eq!(system(&locator), (vec!["ibdata1".into()], "system tablespace".into()));
            server.query("FLUSH BINARY LOGS").unwrap();
            locator.refresh().unwrap();
        }
        assert!(locator.locate(SpaceId::SYSTEM, PageNo(5)).is_ok());
        if round < 2 {
            server.shut_down().unwrap();
            server.start_again().unwrap();
        }
    }
}

fn files_with_names_of_their_own(test: &'static str, release: Release, path: &str, names: &[&str]) {
    if !installed(test, release) {
        return;
    }
    let config = Config::new().at_creation(&format!("innodb_data_file_path={path}"));
    let server = Server::start(release, config).unwrap();
    let locator = Locator::open(server.pid()).unwrap();
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(system(&locator), (names, "system tablespace".to_owned()), "{path}");
    assert!(locator.locate(SpaceId::SYSTEM, PageNo(5)).is_ok());
    assert!(locator.locate(SpaceId::SYSTEM, PageNo(700)).is_ok());
}

#[test]
fn a_system_tablespace_may_have_any_name_in_9_7() {
    const TEST: &str = "a_system_tablespace_may_have_any_name_in_9_7";
    let of = |path: &str, names: &[&str]| {
        files_with_names_of_their_own(TEST, Release::Mysql97, path, names);
    };
    of("ib_sys1:12M:autoextend", &["ib_sys1"]);
    of("system.ibd:12M:autoextend", &["system.ibd"]);
}

#[test]
fn a_system_tablespace_may_have_any_name_in_5_6() {
    const TEST: &str = "a_system_tablespace_may_have_any_name_in_5_6";
    let of = |path: &str, names: &[&str]| {
        files_with_names_of_their_own(TEST, Release::Mysql56, path, names);
    };
    of("ib_sys1:12M:autoextend", &["ib_sys1"]);
    of("system.ibd:12M:autoextend", &["system.ibd"]);
}

/// Two files, of which the second has pages of its own, beside a binary log.
#[test]
fn two_system_files_are_put_together_by_their_pages() {
    const TEST: &str = "two_system_files_are_put_together_by_their_pages";
    for release in [Release::Mysql56, Release::Mysql97] {
        if !installed(TEST, release) {
            continue;
        }
        let config = Config::new()
            .at_creation("innodb_data_file_path=ib_sys1:12M;more.data:8M:autoextend")
            .option("innodb_file_per_table=0")
            .option("log_bin=binlog")
            .option("server_id=1");
        let server = Server::start(release, config).unwrap();
        server.query(&filled("shop", 16)).unwrap();
        crate::mysql56::settle(&server);
        let locator = Locator::open(server.pid()).unwrap();
        let expected = vec!["ib_sys1".to_owned(), "more.data".to_owned()];
        assert_eq!(system(&locator), (expected, "system tablespace".to_owned()), "{release}");
        let place = locator.locate(SpaceId::SYSTEM, PageNo(768 + 40)).unwrap();
        assert_eq!(place.offset.0, 40 * 16384);
    }
}

/// Copies of a real server's files, in the hands of a process that may have any others open too.
#[test]
fn files_that_look_alike_are_told_apart() {
    const TEST: &str = "files_that_look_alike_are_told_apart";
    if !installed(TEST, Release::Mysql97) {
        return;
    }
    let mut server = Server::mysql97(Config::new()).unwrap();
    server.query(&filled("shop", 8)).unwrap();
    server.query("FLUSH BINARY LOGS").unwrap();
    let folder = tempfile::tempdir().unwrap();
    server.shut_down().unwrap();
    let copy = |from: &str, to: &str| -> PathBuf {
        let to = folder.path().join(to);
        fs::copy(server.datadir().join(from), &to).unwrap();
        to
    };
    let ibdata = copy("ibdata1", "ib_sys1");
    let binlog = copy("binlog.000001", "relay-bin.000002");
    // An OUTFILE: rows that begin as page 1 of the system tablespace does.
    let bytes = fs::read(&ibdata).unwrap();
    let page = |number: usize| &bytes[number * 16384..(number + 1) * 16384];
    let write = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    // What a doublewrite file may hold: pages of the system tablespace, one after the other.
    let pages: Vec<u8> = (0..20).flat_map(|number| page(number).to_vec()).collect();
    let dblwr = write("#ib_16384_0.dblwr", &pages);
    let other = write("#ib_16384_1.dblwr", &[page(7), page(1), page(0)].concat());
    let mut damaged = bytes.clone();
    damaged[100] ^= 1;
    let damaged = write("damaged", &damaged);
    let outfile = write("out.txt", &bytes[16384..]);
    let merge = write("ibXMERGE", &[0; 1 << 20]);
    let follows = {
        // Named as if it followed, with a page that was never that one.
        let mut page = page(6).to_vec();
        let after = u32::try_from(bytes.len() / 16384).unwrap();
        page[4..8].copy_from_slice(&after.to_be_bytes());
        write("ibdata2", &page)
    };
    let held = [&binlog, &dblwr, &other, &damaged, &outfile, &merge, &follows, &ibdata];
    let held: Vec<&Path> = held.iter().map(|path| path.as_path()).collect();
    for _ in 0..2 {
        let observed = Observed::with_open(folder.path(), &held);
        let locator = observed.locator();
        assert_eq!(system(&locator), (vec!["ib_sys1".into()], "system tablespace".into()));
        assert!(locator.locate(SpaceId::SYSTEM, PageNo(5)).is_ok());
    }
}
