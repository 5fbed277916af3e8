//! Tables come and go while their pages are skipped.

use anyhow::ensure;
use lab::laboratory::Laboratory;
use lab::migration::Migration;
use lab::workload::Workload;
use rustix::process::Signal;

use crate::shared::{Needs, arrives, record, run};

/// Two tables that are in the pool and on disk when the list is made.
const MAKE: &str = "CREATE TABLE sbtest.gone LIKE sbtest.sbtest1;
INSERT INTO sbtest.gone SELECT * FROM sbtest.sbtest1;
CREATE TABLE sbtest.emptied LIKE sbtest.sbtest1;
INSERT INTO sbtest.emptied SELECT * FROM sbtest.sbtest1;
";
/// Name of the program in the guest.
const NAME: &str = "tables";
/// Their pages are freed, their files are gone, and their blocks on disk are somebody else's; again and again.
const TURN: &str = r#"for turn in $(seq 1000); do
mariadb --no-defaults --user=root --socket=/run/mysqld.sock <<SQL || exit 1
DROP TABLE IF EXISTS sbtest.gone;
CREATE TABLE sbtest.late AS SELECT * FROM sbtest.sbtest1 LIMIT 4000;
TRUNCATE TABLE sbtest.emptied;
INSERT INTO sbtest.emptied SELECT * FROM sbtest.sbtest1 LIMIT 4000;
DROP TABLE sbtest.late;
SQL
echo turn $turn
done"#;

#[test]
fn dropped_truncated_and_made_meanwhile() {
    run("tables::dropped_truncated_and_made_meanwhile", Needs::Poolferry, |lab| {
        lab.load(Workload::Idle)?;
        lab.guest().sql(MAKE)?;
        lab::workload::settle(lab.guest())?;
        let mut begun = false;
        let migration = Migration::with_fault(|ongoing| {
            // The list is made, the hosts agree; nothing is skipped yet.
            if !begun && ongoing.output().contains("\"name\":\"negotiation\"") {
                begun = true;
                ongoing.lab.guest().start(NAME, &["sh", "-c", TURN], &[])?;
            }
            Ok(())
        });
        arrives(lab, migration)?;
        ensure!(begun, "the migration was over before a table was dropped");
        println!("{} turns by now; {:?}", turns(lab), record(lab)?.pages);
        lab.guest().signal(NAME, Signal::TERM)?;
        lab.guest().sql("DROP TABLE IF EXISTS sbtest.gone, sbtest.emptied, sbtest.late")?;
        lab.check()
    });
}

fn turns(lab: &mut Laboratory) -> usize {
    lab.guest().lines(NAME).iter().filter(|line| line.text.starts_with("turn ")).count()
}
