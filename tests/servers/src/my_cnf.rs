//! The text of `my.cnf`.

use std::fmt::Write as _;
use std::path::Path;

use crate::config::Config;
use crate::fixture::{Installed, Release};

/// A server with its paths as it sees them itself, which in a root of its own are others than outside.
#[derive(Clone, Copy, Debug)]
pub struct MyCnf<'a> {
    /// Which server.
    pub release: Release,
    /// The folder with the files that MySQL 5.6 brings.
    pub home: &'a Path,
    /// Where its data are.
    pub datadir: &'a Path,
    /// Where its temporary files go.
    pub tmpdir: &'a Path,
    /// Where its socket and the file with its pid are.
    pub rundir: &'a Path,
    /// `innodb_flush_method`.
    pub flush_method: &'a str,
    /// MiB of its buffer pool.
    pub pool_mib: u64,
}

impl MyCnf<'_> {
    /// The options that every server of the project has, here and in the lab's guest, with the heading of their section.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from("[mysqld]\n");
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            let _ = writeln!(text, "{name}={value}");
        };
        line("datadir", &self.datadir.display());
        line("tmpdir", &self.tmpdir.display());
        line("socket", &self.rundir.join("mysqld.sock").display());
        line("pid_file", &self.rundir.join("mysqld.pid").display());
        line("innodb_flush_method", &self.flush_method);
        line("innodb_buffer_pool_size", &format_args!("{}M", self.pool_mib));
        // A warm-up from a dumped list would differ from one start to the next.
        line("innodb_buffer_pool_load_at_startup", &0);
        line("innodb_buffer_pool_dump_at_shutdown", &0);
        match self.release {
            Release::Mysql56 => {
                line("basedir", &self.home.display());
                line("lc_messages_dir", &self.home.join("share").display());
                line("character_sets_dir", &self.home.join("share/charsets").display());
                line("explicit_defaults_for_timestamp", &1);
            }
            Release::Mysql97 => {
                // Debian's default folder is not in this root.
                line("secure_file_priv", &"NULL");
                line("mysqlx", &0);
                line("auto_generate_certs", &0);
            }
            Release::Mariadb | Release::MariadbSecurity | Release::MariadbTrixie => {}
        }
        text.push_str("skip_networking\n");
        // 9.7 runs as it does for most people: binary log and performance schema are on.
        if self.release != Release::Mysql97 {
            text.push_str("skip_log_bin\nperformance_schema=0\n");
        }
        text
    }
}

/// Paths of a server of [`render`] as it sees them.
pub(crate) struct Seen<'a> {
    pub(crate) scratch: &'a Path,
    pub(crate) datadir: &'a Path,
}

/// Renders the options of `config` for a server whose paths are those of `seen`.
pub(crate) fn render(installed: &Installed, config: &Config, seen: &Seen<'_>) -> String {
    let common = MyCnf {
        release: installed.release,
        home: installed.program.parent().unwrap_or(Path::new("/")),
        datadir: seen.datadir,
        tmpdir: seen.scratch,
        rundir: seen.scratch,
        flush_method: &config.flush_method,
        pool_mib: config.pool_mib,
    };
    let mut text = common.text();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{name}={value}");
    };
    if rustix::process::geteuid().is_root() {
        line("user", &"root");
    }
    line("innodb_page_size", &config.page_size.bytes());
    if let Some(instances) = config.instances {
        line("loose_innodb_buffer_pool_instances", &instances);
    }
    line("max_connections", &200);
    for line in config.at_creation.iter().chain(&config.options) {
        let _ = writeln!(text, "{line}");
    }
    text
}
