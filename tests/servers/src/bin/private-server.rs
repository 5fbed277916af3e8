//! Starts a private server by hand: `cargo run -p test_servers -- mysql97`. It ends with this program, however that ends.
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::env;
use std::io;

use anyhow::Result;
use test_servers::{Config, Dataset, Release, Server};

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [release, options @ ..] = arguments.as_slice() else {
        let names = Release::ALL.map(Release::name).join("|");
        eprintln!("usage: private-server {names} [POOL_MIB [TABLES ROWS]]");
        std::process::exit(2);
    };
    let release: Release = release.parse()?;
    let mut config = Config::new();
    if let [mib, ..] = options {
        config = config.pool_mib(mib.parse()?);
    }
    if let [_, tables, rows] = options {
        config = config.sysbench(Dataset { tables: tables.parse()?, rows: rows.parse()? });
    }
    let server = Server::start(release, config)?;
    println!("pid {}", server.pid());
    println!("socket {}", server.socket().display());
    println!("datadir {}", server.datadir().display());
    println!("running until the end of standard input (Ctrl-D) or Ctrl-C");
    io::copy(&mut io::stdin(), &mut io::sink())?;
    server.stop()
}
