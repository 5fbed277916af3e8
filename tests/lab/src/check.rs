//! What the database says of itself after a migration.

use anyhow::{Result, ensure};

use crate::database::Known;
use crate::guest::Guest;

/// Reads every row and index of every table; where nothing was `written`, compares with the checksums from before the VM
/// was started, which are over all rows.
///
/// # Errors
/// A table is corrupt, or has other rows than it must have.
pub fn database(guest: &mut Guest, known: &Known, written: bool) -> Result<()> {
    let tables = || (1..=known.tables).map(|table| format!("sbtest.sbtest{table}"));
    let rows = u64::from(known.rows);
    let (mut sql, mut wanted) = (String::new(), Vec::new());
    for table in tables() {
        sql += &format!("CHECK TABLE {table};\n");
        wanted.push(format!("{table}\tcheck\tstatus\tOK"));
    }
    for (table, checksum) in tables().zip(&known.checksums) {
        if written {
            sql += &format!("SELECT '{table}', COUNT(*), SUM(id) FROM {table};\n");
            wanted.push(format!("{table}\t{rows}\t{}", rows * (rows + 1) / 2));
        } else {
            sql += &format!("CHECKSUM TABLE {table};\n");
            wanted.push(format!("{table}\t{checksum}"));
        }
    }
    // One client for all: without an accelerator each takes a while to start.
    let text = guest.sql(&sql)?;
    ensure!(text == wanted, "after the migration the tables are {text:#?}, not {wanted:#?}");
    Ok(())
}
