//! What a server is to be like.

use std::path::{Path, PathBuf};

/// Options of a server; [`new`](Config::new) gives 128 MiB of pool, 16 KiB pages, `O_DIRECT` and no data.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) pool_mib: u64,
    pub(crate) instances: Option<u32>,
    pub(crate) page_size: PageSize,
    pub(crate) flush_method: String,
    pub(crate) at_creation: Vec<String>,
    pub(crate) options: Vec<String>,
    pub(crate) dataset: Option<Dataset>,
    pub(crate) keeps_dataset: bool,
    pub(crate) isolation: Isolation,
    pub(crate) loader: bool,
    pub(crate) datadir_in: Option<PathBuf>,
}

/// `innodb_page_size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageSize {
    /// 4096 bytes.
    K4,
    /// 8192 bytes.
    K8,
    /// 16384 bytes, the default of all releases.
    K16,
    /// 65536 bytes, the most: MySQL 5.7 and later, and MariaDB.
    K64,
}

/// Tables of sysbench's `oltp` scripts, in the schema `sbtest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dataset {
    /// Number of tables: `sbtest1`, `sbtest2` ...
    pub tables: u32,
    /// Rows in each table.
    pub rows: u32,
}

/// How much of the machine the server shares with its observer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// All that the release allows: nothing for 5.6; mount namespace and root of their own for those that run in a root.
    Least,
    /// Mount and PID namespaces of its own: its paths and its pid differ from those outside. Wants root.
    Namespaces,
}

impl Dataset {
    /// Bytes that a row takes in clustered and secondary index, as sysbench fills them, with 16 KiB pages.
    pub const ROW_BYTES: u64 = 236;

    /// Bytes of the tables on disk, about.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.tables as u64 * self.rows as u64 * Self::ROW_BYTES
    }
}

impl PageSize {
    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::K4 => 4096,
            Self::K8 => 8192,
            Self::K16 => 16384,
            Self::K64 => 65536,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Config {
    /// A small server without data.
    #[must_use]
    pub fn new() -> Self {
        Self {
            pool_mib: 128,
            instances: None,
            page_size: PageSize::K16,
            flush_method: "O_DIRECT".to_owned(),
            at_creation: Vec::new(),
            options: Vec::new(),
            dataset: None,
            keeps_dataset: true,
            isolation: Isolation::Least,
            loader: false,
            datadir_in: None,
        }
    }

    /// `innodb_buffer_pool_size`, in MiB.
    #[must_use]
    pub fn pool_mib(mut self, mib: u64) -> Self {
        self.pool_mib = mib;
        self
    }

    /// `innodb_buffer_pool_instances`. InnoDB keeps to one below 1 GiB of pool.
    #[must_use]
    pub fn instances(mut self, instances: u32) -> Self {
        self.instances = Some(instances);
        self
    }

    /// `innodb_page_size`.
    #[must_use]
    pub fn page_size(mut self, size: PageSize) -> Self {
        self.page_size = size;
        self
    }

    /// `innodb_flush_method`.
    #[must_use]
    pub fn flush_method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.flush_method);
        self
    }

    /// A further line of `my.cnf`, such as `innodb_old_blocks_time=0`.
    #[must_use]
    pub fn option(mut self, line: &str) -> Self {
        self.options.push(line.to_owned());
        self
    }

    /// A line of `my.cnf` that decides how the system tablespace is made, such as `innodb_data_file_path`: the data directory is then
    /// created with it, not only opened.
    #[must_use]
    pub fn at_creation(mut self, line: &str) -> Self {
        self.at_creation.push(line.to_owned());
        self
    }

    /// Starts with these tables, from a copy of a data directory prepared once.
    #[must_use]
    pub fn sysbench(mut self, dataset: Dataset) -> Self {
        self.dataset = Some(dataset);
        self
    }

    /// Fills the tables for this server alone: who keeps what it makes of them need not have them in the cache as well.
    #[must_use]
    pub fn filled_anew(mut self) -> Self {
        self.keeps_dataset = false;
        self
    }

    /// What the server shares with its observer.
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// Starts the program through the dynamic loader, which the kernel then knows as the program.
    #[must_use]
    pub fn through_loader(mut self) -> Self {
        self.loader = true;
        self
    }

    /// Puts the data directory into `folder` (on another file system, say) in place of the scratch folder. The
    /// data directory is removed with the server, the folder is not.
    #[must_use]
    pub fn datadir_in(mut self, folder: &Path) -> Self {
        self.datadir_in = Some(folder.to_owned());
        self
    }
}
