//! The server in the guest: how it is started, and with which options.
//!
//! Its files are a disk of their own, so that any server runs in any guest: a build for every Linux as it is, a package of
//! a distribution in the root folder that it was unpacked into, as in a container.

use test_servers::Release;

use crate::size::Size;

/// Where the disk with the server's files is mounted in the guest.
pub(crate) const HOME: &str = "/server";

/// What starts it, and variables of its environment.
pub(crate) fn command(release: Release) -> (Vec<&'static str>, Vec<(&'static str, &'static str)>) {
    const OPTIONS: &str = "--defaults-file=/lab/my.cnf";
    match release {
        Release::Mysql56 => (vec!["/server/mysqld", OPTIONS], vec![("LD_LIBRARY_PATH", HOME)]),
        Release::Mysql97 => (vec!["chroot", HOME, "/usr/sbin/mysqld", OPTIONS], Vec::new()),
        Release::Mariadb | Release::MariadbSecurity => {
            // Its data directory has no tables of accounts.
            let argv = vec!["chroot", HOME, "/usr/sbin/mariadbd", OPTIONS, "--skip-grant-tables"];
            (argv, Vec::new())
        }
    }
}

/// The text of its `my.cnf`.
pub(crate) fn my_cnf(release: Release, pool: Size) -> String {
    let mut options = vec![
        "[mysqld]".to_owned(),
        "user=root".to_owned(),
        "datadir=/data/mysql".to_owned(),
        "tmpdir=/tmp".to_owned(),
        "socket=/run/mysqld.sock".to_owned(),
        "pid_file=/run/mysqld.pid".to_owned(),
        "innodb_flush_method=O_DIRECT".to_owned(),
        format!("innodb_buffer_pool_size={}M", pool.in_mib()),
        // A warm-up from a dumped list would differ from one start to the next.
        "innodb_buffer_pool_load_at_startup=0".to_owned(),
        "innodb_buffer_pool_dump_at_shutdown=0".to_owned(),
        "skip_networking".to_owned(),
    ];
    match release {
        Release::Mysql56 => options.extend([
            format!("basedir={HOME}"),
            format!("lc_messages_dir={HOME}/share"),
            format!("character_sets_dir={HOME}/share/charsets"),
            "explicit_defaults_for_timestamp=1".to_owned(),
            "performance_schema=0".to_owned(),
            "skip_log_bin".to_owned(),
        ]),
        // Debian's default folder is not in this root.
        Release::Mysql97 => options.extend(
            ["secure_file_priv=NULL", "mysqlx=0", "auto_generate_certs=0"].map(str::to_owned),
        ),
        Release::Mariadb | Release::MariadbSecurity => {}
    }
    options.join("\n") + "\n"
}
