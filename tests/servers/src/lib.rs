//! Real servers for the demo, the tests and the benchmarks.
//!
//! A [`Server`] is a private, unmodified `mysqld` in a scratch folder: reached by its socket only, gone
//! with its folder when the value is dropped, or when the process that owns it dies. Data sets are prepared once
//! and copied for each server.
//!
//! ```text
//! Release -> fixture (cache) -> Config -> datadir (template, copied) -> Server -> query, Load
//! ```
//!
//! ```no_run
//! use test_servers::{Config, Dataset, LoadSpec, Server, Script};
//!
//! # fn main() -> anyhow::Result<()> {
//! let data = Dataset { tables: 4, rows: 100_000 };
//! let server = Server::mysql56(Config::new().pool_mib(512).sysbench(data))?;
//! let load = server.load(&LoadSpec::new(Script::ReadWrite, 2).seconds(10))?;
//! println!("{} runs with pid {}: {:?}", server.program().display(), server.pid(), load.wait()?);
//! server.stop()?;
//! # Ok(())
//! # }
//! ```

pub mod cache;
mod client;
pub mod command;
mod config;
mod datadir;
pub mod fixture;
pub mod kept;
mod launch;
mod load;
pub mod lock;
mod my_cnf;
mod process;
pub mod room;
mod scratch;
mod server;
mod skip;
mod watchdog;

pub use config::{Config, Dataset, Isolation, PageSize};
pub use fixture::{Installed, Release};
pub use load::{Load, LoadSpec, Script, Second, Summary};
pub use my_cnf::MyCnf;
pub use server::Server;
pub use skip::skipped;
