//! MySQL 9.7 in its own root: undo, general and temporary tablespaces, page compression.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use test_servers::{Config, Release, Server, skipped};
use userspace::locate::{Locator, NotOnDisk, PageNo, SpaceId};

use crate::disk_bytes::compare;
use crate::mysql56::{filled, settle};
use crate::volume::{Loop, Mounted, with_own_mounts};

/// Space id and path as the server's dictionary has them.
fn dictionary(server: &Server) -> BTreeMap<u32, PathBuf> {
    let rows = server.query(
        "SELECT t.space, d.path FROM information_schema.innodb_tablespaces t
         JOIN information_schema.innodb_datafiles d USING (space)",
    );
    let paths = rows.unwrap().into_iter().map(|row| {
        let path = Path::new("/scratch/data").join(row[1].trim_start_matches("./"));
        (row[0].parse().unwrap(), path)
    });
    paths.collect()
}

#[test]
fn spaces_of_a_server_in_its_own_root() {
    const TEST: &str = "spaces_of_a_server_in_its_own_root";
    with_own_mounts(TEST, &["mkfs.ext4"], || {
        if let Err(error) = Release::Mysql97.installed() {
            return skipped(TEST, format_args!("{error:#}"));
        }
        let disk = Loop::new();
        let mounted = Mounted::made("ext4", &disk.partition());
        let config = Config::new().datadir_in(mounted.path());
        let server = Server::mysql97(config.option("innodb_redo_log_capacity=16M")).unwrap();
        server.query(&filled("shop", 14)).unwrap();
        server
            .query(
                "CREATE TABLESPACE common ADD DATAFILE 'common.ibd';
                 CREATE TABLE shop.general (a INT PRIMARY KEY) TABLESPACE common;
                 CREATE TABLE shop.small (a INT PRIMARY KEY, b CHAR(250)) COMPRESSION='zlib';
                 CREATE TABLE shop.packed (a INT PRIMARY KEY) ROW_FORMAT=COMPRESSED;
                 INSERT INTO shop.small SELECT * FROM shop.t;",
            )
            .unwrap();
        settle(&server);
        let mut locator = Locator::open(server.pid()).unwrap();

        let files = locator
            .tablespaces()
            .files()
            .filter_map(|(_, file)| Some((file.space()?.0, file.path().to_owned())));
        let found: BTreeMap<_, _> = files.collect();
        let named = dictionary(&server);
        println!("{named:?}");
        for (space, path) in &named {
            assert_eq!(found.get(space), Some(path), "space {space}");
        }

        let id = |name: &str| {
            let sql = format!(
                "SELECT space FROM information_schema.innodb_tablespaces WHERE name='{name}'"
            );
            SpaceId(server.query_one(&sql).unwrap().parse().unwrap())
        };
        let place = |name: &str| locator.locate(id(name), PageNo(3));
        for name in ["mysql", "innodb_undo_001", "common", "shop/t"] {
            assert!(place(name).is_ok(), "{name}: {:?}", place(name));
        }
        assert_eq!(id("mysql"), SpaceId(0xffff_fffe));
        assert_eq!(place("innodb_temporary"), Err(NotOnDisk::Temporary));
        assert_eq!(place("shop/packed"), Err(NotOnDisk::Compressed));
        assert_eq!(place("shop/small"), Err(NotOnDisk::PageCompressed));
        let general = locator.tablespaces().files_of(id("common")).next().unwrap();
        assert_eq!(general.name(), "common");

        let inside = Path::new("/scratch/data");
        let counts = compare(&mut locator, |path| {
            path.strip_prefix(inside)
                .map_or_else(|_| path.to_owned(), |rest| server.datadir().join(rest))
        });
        println!("{counts:?}");
        assert_eq!(counts.different, []);
        assert!(counts.equal > 1000, "{counts:?}");
    });
}
