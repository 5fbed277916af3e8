//! What the database says of itself after a migration.

use anyhow::{Result, ensure};

use crate::database::Known;
use crate::guest::Guest;
use crate::workload::Workload;

/// Reads every row and index of every table; after a load that only read, also compares with the checksums from before
/// the VM was started.
///
/// # Errors
/// A table is corrupt, or has other rows than it must have.
pub fn database(guest: &mut Guest, known: &Known, written: Workload) -> Result<()> {
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
        let count = guest.number(&format!("SELECT COUNT(*) FROM sbtest.sbtest{table}"))?;
        let ids = guest.number(&format!("SELECT SUM(id) FROM sbtest.sbtest{table}"))?;
        ensure!(
            (count, ids) == (rows, rows * (rows + 1) / 2),
            "after the migration sbtest{table} has {count} rows with the sum {ids} of their ids, not {rows} with {}",
            rows * (rows + 1) / 2
        );
        if written != Workload::Rw {
            let sum = guest.number(&format!("CHECKSUM TABLE sbtest.sbtest{table}"))?;
            ensure!(
                sum == *checksum,
                "after the migration sbtest{table} has the checksum {sum}, not {checksum}"
            );
        }
    }
    Ok(())
}
