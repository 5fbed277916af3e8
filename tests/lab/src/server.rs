//! The server in the guest: how it is started, and with which options.
//!
//! Its files are a disk of their own, so that any server runs in any guest: a build for every Linux as it is, a package of
//! a distribution in the root folder that it was unpacked into, as in a container.

use std::path::Path;

use test_servers::{MyCnf, Release};

use crate::size::Size;

/// Where the disk with the server's files is mounted in the guest.
pub(crate) const HOME: &str = "/server";

/// What starts it, and variables of its environment.
pub(crate) fn command(release: Release) -> (Vec<&'static str>, Vec<(&'static str, &'static str)>) {
    const OPTIONS: &str = "--defaults-file=/lab/my.cnf";
    match release {
        Release::Mysql56 => (vec!["/server/mysqld", OPTIONS], vec![("LD_LIBRARY_PATH", HOME)]),
        Release::Mysql97 => (vec!["chroot", HOME, "/usr/sbin/mysqld", OPTIONS], Vec::new()),
        Release::Mariadb | Release::MariadbSecurity | Release::MariadbTrixie => {
            // Its data directory has no tables of accounts.
            let argv = vec!["chroot", HOME, "/usr/sbin/mariadbd", OPTIONS, "--skip-grant-tables"];
            (argv, Vec::new())
        }
    }
}

/// The text of its `my.cnf`.
pub(crate) fn my_cnf(release: Release, pool: Size) -> String {
    let common = MyCnf {
        release,
        home: Path::new(HOME),
        datadir: Path::new("/data/mysql"),
        tmpdir: Path::new("/tmp"),
        rundir: Path::new("/run"),
        flush_method: "O_DIRECT",
        pool_mib: pool.in_mib(),
    };
    common.text() + "user=root\n"
}
