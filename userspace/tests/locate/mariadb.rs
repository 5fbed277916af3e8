//! MariaDB writes other flags, and gives its temporary tablespace the id of MySQL's dictionary.

use test_servers::{Config, Release, Server, skipped};
use userspace::locate::{Locator, NotOnDisk, PageNo, SpaceId};

use crate::mysql56::settle;

#[test]
fn spaces_of_mariadb() {
    const TEST: &str = "spaces_of_mariadb";
    if !rustix::process::geteuid().is_root() {
        return skipped(TEST, "its own root wants root");
    }
    if let Err(error) = Release::Mariadb.installed() {
        return skipped(TEST, format_args!("{error:#}"));
    }
    let server = Server::mariadb(Config::new()).unwrap();
    server
        .query(
            "CREATE DATABASE shop;
             CREATE TABLE shop.plain (a INT PRIMARY KEY);
             CREATE TABLE shop.small (a INT PRIMARY KEY) PAGE_COMPRESSED=1;
             CREATE TABLE shop.packed (a INT PRIMARY KEY) ROW_FORMAT=COMPRESSED;",
        )
        .unwrap();
    // MariaDB makes files without a first page; it follows when the page is flushed.
    settle(&server);
    let locator = Locator::open(server.pid()).unwrap();
    let place = |name: &str| {
        let sql = format!(
            "SELECT space FROM information_schema.innodb_sys_tablespaces WHERE name='{name}'"
        );
        let space = server.query_one(&sql).unwrap().parse().unwrap();
        locator.locate(SpaceId(space), PageNo(3))
    };
    assert!(place("shop/plain").is_ok(), "{:?}", place("shop/plain"));
    assert_eq!(place("shop/small"), Err(NotOnDisk::PageCompressed));
    assert_eq!(place("shop/packed"), Err(NotOnDisk::Compressed));
    assert!(locator.locate(SpaceId::SYSTEM, PageNo(3)).is_ok());
    // Its first page may never be written, and then the file does not say which space it is.
    let temporary = locator.locate(SpaceId(0xffff_fffe), PageNo(3));
    let expected = [Err(NotOnDisk::Temporary), Err(NotOnDisk::SpaceNotOpen)];
    assert!(expected.contains(&temporary), "{temporary:?}");
}
