//! What the database is busy with: sysbench in the guest.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::Signal;

use crate::database::Known;
use crate::guest::Guest;
use crate::wait;

/// Name of the program in the guest.
const NAME: &str = "sysbench";
/// sysbench reports its first second within this time.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Which load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    /// None: the pool is full and clean
    Idle,
    /// sysbench `oltp_read_only`
    Ro,
    /// sysbench `oltp_read_write`
    Rw,
}

impl Workload {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Ro => "ro",
            Self::Rw => "rw",
        }
    }

    const fn script(self) -> Option<&'static str> {
        match self {
            Self::Idle => None,
            Self::Ro => Some("oltp_read_only"),
            Self::Rw => Some("oltp_read_write"),
        }
    }
}

/// What sysbench reported for one second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GuestSecond {
    /// When the report arrived here.
    pub at: Instant,
    /// Transactions per second.
    pub tps: f64,
    /// 95th percentile of a transaction's latency in milliseconds.
    pub latency_ms: f64,
}

/// Reads all tables and their indexes, so that the pool holds what it can of them, and waits until it is clean.
///
/// # Errors
/// The server fails, or does not become clean.
pub fn warm(guest: &mut Guest, known: &Known) -> Result<()> {
    // Otherwise a scan passes through the old end of the LRU list and leaves little behind.
    let mut sql = String::from("SET GLOBAL innodb_old_blocks_time=0;\n");
    for table in 1..=known.tables {
        sql += &format!("SELECT SUM(LENGTH(pad)) FROM sbtest.sbtest{table};\n");
        sql += &format!("SELECT SUM(k) FROM sbtest.sbtest{table} FORCE INDEX (k_{table});\n");
    }
    sql += "SET GLOBAL innodb_old_blocks_time=DEFAULT;\n";
    guest.sql(&sql)?;
    settle(guest)
}

/// Waits until the pool holds no dirty page.
///
/// # Errors
/// It does not become clean in time.
pub fn settle(guest: &mut Guest) -> Result<()> {
    guest.sql("SET GLOBAL innodb_max_dirty_pages_pct=0")?;
    let clean = wait::until("a clean pool", Duration::from_secs(120), || {
        let dirty = guest.number("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")?;
        Ok((dirty == 0).then_some(()))
    });
    guest.sql("SET GLOBAL innodb_max_dirty_pages_pct=DEFAULT")?;
    clean
}

/// Starts the load and waits until it is known to run.
///
/// # Errors
/// sysbench ends or says nothing.
pub fn start(guest: &mut Guest, workload: Workload, threads: u32, known: &Known) -> Result<()> {
    let Some(script) = workload.script() else { return Ok(()) };
    let options = [
        format!("--tables={}", known.tables),
        format!("--table-size={}", known.rows),
        format!("--threads={threads}"),
    ];
    let mut argv = vec![
        "sysbench",
        script,
        "--db-driver=mysql",
        "--mysql-user=root",
        "--mysql-db=sbtest",
        "--mysql-socket=/run/mysqld.sock",
        "--time=0",
        "--events=0",
        "--report-interval=1",
        "--rand-type=uniform",
    ];
    argv.extend(options.iter().map(String::as_str));
    argv.push("run");
    guest.start(NAME, &argv, &[])?;
    wait::until("sysbench's first second", START_LIMIT, || {
        still_runs(guest)?;
        Ok((!seconds(guest).is_empty()).then_some(()))
    })
}

/// Ends the load.
///
/// # Errors
/// It had ended before, by an error.
pub fn stop(guest: &mut Guest, workload: Workload) -> Result<()> {
    if workload == Workload::Idle {
        return Ok(());
    }
    still_runs(guest)?;
    guest.signal(NAME, Signal::TERM)?;
    wait::until("the end of sysbench", Duration::from_secs(60), || {
        Ok(guest.how_ended(NAME).map(drop))
    })
}

/// All seconds that were reported since the load was started.
pub fn seconds(guest: &mut Guest) -> Vec<GuestSecond> {
    guest.lines(NAME).iter().filter_map(|line| second(line.at, &line.text)).collect()
}

fn still_runs(guest: &mut Guest) -> Result<()> {
    let Some(status) = guest.how_ended(NAME).map(str::to_owned) else { return Ok(()) };
    let log: Vec<_> =
        guest.lines(NAME).iter().rev().take(8).map(|line| line.text.clone()).collect();
    bail!(
        "sysbench ended in the guest: {status}\n{}",
        log.into_iter().rev().collect::<Vec<_>>().join("\n")
    )
}

/// `[ 1s ] thds: 1 tps: 339.41 qps: 6799.18 (r/w/o: 4761.72/1357.64/679.82) lat (ms,95%): 3.89 err/s: ...`
fn second(at: Instant, line: &str) -> Option<GuestSecond> {
    line.strip_prefix("[ ")?;
    let number = |label: &str| -> Option<f64> {
        line.split_once(label)?.1.split_whitespace().next()?.parse().ok()
    };
    Some(GuestSecond { at, tps: number(" tps: ")?, latency_ms: number(" lat (ms,95%): ")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_read() {
        let line = "[ 12s ] thds: 1 tps: 339.41 qps: 6799.18 (r/w/o: 4761.72/1357.64/679.82) \
                    lat (ms,95%): 3.89 err/s: 0.00 reconn/s: 0.00";
        let at = Instant::now();
        assert_eq!(second(at, line), Some(GuestSecond { at, tps: 339.41, latency_ms: 3.89 }));
        assert_eq!(second(at, "Threads started!"), None);
    }
}
