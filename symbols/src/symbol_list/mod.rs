//! The names of a stripped program, by the list that its package has of them.
//!
//! Debian strips MariaDB and keeps `nm` of exactly that program in the package `mariadb-server` (`debian/rules`:
//! `mariadbd.sym.gz`), functions and variables that are not exported among it. It has neither sizes nor types, and it may be
//! of another build: the server's package is another one, and a server may not have been restarted since. So the
//! list is bound to the program by what both have: every symbol that the program exports must stand in it, at the same
//! address.
//!
//! The list is read as it is decompressed, a line at a time: what is kept of it are the addresses that were asked for.

mod error;
mod exported;
mod line;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};

use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};

use crate::addr::LinkAddr;
use crate::cause::Cause;
use crate::elf::Program;
use exported::Exported;
use line::ListedSymbol;

pub use error::SymbolListError;

/// Largest list as its package has it, in bytes; MariaDB's has 585,000.
pub const MAX_COMPRESSED: u64 = 16 << 20;

/// Most bytes that one is read of once it is decompressed; MariaDB's has 3.3 million.
pub const MAX_BYTES: u64 = 64 << 20;

/// Longest line in bytes; MariaDB's longest has 420.
const MAX_LINE: u64 = 16 << 10;

/// Most addresses of one name: functions of several sources may be called alike.
const MAX_ADDRESSES: usize = 256;

/// What the list of a program says of some names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolList {
    addresses: BTreeMap<String, Vec<LinkAddr>>,
    /// How many symbols the program exports, all of which agree.
    pub agreed: usize,
}

/// What became of the list of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SymbolListUse {
    /// There is none, or the server's definition knows of none.
    #[default]
    Absent,
    /// It is the program's, and agrees with the profile.
    Agreed {
        /// How many exported symbols of the program stand in it, at the same addresses: all of them.
        symbols: usize,
    },
    /// It is not used.
    Unused {
        /// Why.
        why: String,
    },
}

impl SymbolList {
    /// Reads the list of `program` from what its package has; of the names in it, those `wanted` are kept.
    ///
    /// # Errors
    /// It is not compressed by gzip, is damaged, longer than any is, has a line that `nm` does not write, or is the list of
    /// another program.
    pub fn read(
        compressed: impl Read,
        program: &Program,
        wanted: &[&str],
    ) -> Result<Self, SymbolListError> {
        let mut exported = Exported::of(program)?;
        let mut addresses: BTreeMap<String, Vec<LinkAddr>> =
            wanted.iter().map(|name| ((*name).to_owned(), Vec::new())).collect();
        let broken = |error: std::io::Error| SymbolListError::Broken(Cause::from(error));
        let decompressed = GzDecoder::new(compressed.take(MAX_COMPRESSED)).take(MAX_BYTES + 1);
        let mut lines = BufReader::with_capacity(64 << 10, decompressed);
        let (mut bytes, mut number) = (Vec::new(), 0_usize);
        let mut all = 0_u64;
        loop {
            bytes.clear();
            let read =
                lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes).map_err(broken)?;
            all += read as u64;
            if all > MAX_BYTES {
                return Err(SymbolListError::TooLong { limit: MAX_BYTES });
            }
            if read == 0 {
                break;
            }
            number += 1;
            // The last line too ends with a line feed.
            let line = bytes.strip_suffix(b"\n").and_then(ListedSymbol::of);
            let ListedSymbol { addr, name } = line.ok_or(SymbolListError::Line { number })?;
            let Some(addr) = addr else { continue };
            exported.see(name, addr);
            let Ok(name) = std::str::from_utf8(name) else { continue };
            if let Some(known) = addresses.get_mut(name)
                && known.len() < MAX_ADDRESSES
                && !known.contains(&addr)
            {
                known.push(addr);
            }
        }
        Ok(Self { addresses, agreed: exported.all_seen()? })
    }

    /// Where the list has a name; nowhere, once, or at several places.
    #[must_use]
    pub fn get(&self, name: &str) -> &[LinkAddr] {
        self.addresses.get(name).map_or(&[], Vec::as_slice)
    }
}
