//! The text of `my.cnf`.

use std::fmt::Write as _;
use std::path::Path;

use crate::config::Config;
use crate::fixture::{Installed, Release};

/// Paths as the server sees them, which in a root of its own are others than outside.
pub(crate) struct Seen<'a> {
    pub(crate) scratch: &'a Path,
    pub(crate) datadir: &'a Path,
}

/// Renders the options of `config` for a server whose paths are those of `seen`.
pub(crate) fn render(installed: &Installed, config: &Config, seen: &Seen<'_>) -> String {
    let mut text = String::from("[mysqld]\n");
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{name}={value}");
    };
    if rustix::process::geteuid().is_root() {
        line("user", &"root");
    }
    line("datadir", &seen.datadir.display());
    line("tmpdir", &seen.scratch.display());
    line("socket", &seen.scratch.join("mysqld.sock").display());
    line("pid_file", &seen.scratch.join("mysqld.pid").display());
    line("innodb_flush_method", &config.flush_method);
    line("innodb_buffer_pool_size", &format_args!("{}M", config.pool_mib));
    line("innodb_page_size", &config.page_size.bytes());
    if let Some(instances) = config.instances {
        line("loose_innodb_buffer_pool_instances", &instances);
    }
    match installed.release {
        Release::Mysql56 => {
            let home = installed.program.parent().unwrap_or(Path::new("/"));
            line("basedir", &home.display());
            line("lc_messages_dir", &home.join("share").display());
            line("character_sets_dir", &home.join("share/charsets").display());
            line("explicit_defaults_for_timestamp", &1);
        }
        Release::Mysql97 => {
            // Debian's default folder is not in this root.
            line("secure_file_priv", &"NULL");
            line("mysqlx", &0);
            line("auto_generate_certs", &0);
        }
        Release::Mariadb | Release::MariadbSecurity => {}
    }
    // A warm-up from a dumped list would differ from one start to the next.
    text.push_str("innodb_buffer_pool_load_at_startup=0\ninnodb_buffer_pool_dump_at_shutdown=0\n");
    text.push_str("skip_networking\nmax_connections=200\n");
    // 9.7 runs as it does for most people: binary log and performance schema are on.
    if installed.release != Release::Mysql97 {
        text.push_str("skip_log_bin\nperformance_schema=0\n");
    }
    for line in config.at_creation.iter().chain(&config.options) {
        let _ = writeln!(text, "{line}");
    }
    text
}
