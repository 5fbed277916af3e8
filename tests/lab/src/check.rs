//! What the database says of itself after a migration.

use anyhow::{Result, ensure};

use crate::database::Known;
use crate::guest::Guest;

/// Reads every row and index of every table; where nothing was `written`, also compares with the checksums from before
/// the VM was started.
///
/// # Errors
/// A table is corrupt, or has other rows than it must have.
pub fn database(guest: &mut Guest, known: &Known, written: bool) -> Result<()> {
    let mut sql = String::new();
    for table in 1..=known.tables {
        sql += &format!("CHECK TABLE sbtest.sbtest{table};\n");
    }
    for line in guest.sql(&sql)? {
        // `sbtest.sbtest1	check	status	OK`
        ensure!(line.ends_with("\tstatus\tOK"), "after the migration: {line}");
    }
    let rows = u64::from(known.rows);
    for (table, checksum) in (1..=known.tables).zip(&known.checksums) {
        let found = guest.sql(&format!("SELECT COUNT(*), SUM(id) FROM sbtest.sbtest{table}"))?;
        let wanted = format!("{rows}\t{}", rows * (rows + 1) / 2);
        ensure!(
            found == [wanted.as_str()],
            "after the migration sbtest{table} has count and sum of ids {found:?}, not {wanted:?}"
        );
        if !written {
            let sum = guest.number(&format!("CHECKSUM TABLE sbtest.sbtest{table}"))?;
            ensure!(
                sum == *checksum,
                "after the migration sbtest{table} has the checksum {sum}, not {checksum}"
            );
        }
    }
    Ok(())
}
