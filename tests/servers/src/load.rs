//! sysbench beside the caller, its report read as it runs.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::config::Dataset;
use crate::process;

/// sysbench ends within this time of SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Which of sysbench's scripts runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// `oltp_read_only`.
    ReadOnly,
    /// `oltp_read_write`.
    ReadWrite,
    /// `oltp_write_only`.
    WriteOnly,
    /// `oltp_point_select`.
    PointSelect,
}

impl Script {
    const fn script(self) -> &'static str {
        match self {
            Self::ReadOnly => "oltp_read_only",
            Self::ReadWrite => "oltp_read_write",
            Self::WriteOnly => "oltp_write_only",
            Self::PointSelect => "oltp_point_select",
        }
    }
}

/// What sysbench is to do.
#[derive(Debug, Clone)]
pub struct LoadSpec {
    workload: Script,
    threads: u32,
    seconds: Option<u32>,
    rate: Option<u32>,
    random: &'static str,
}

impl LoadSpec {
    /// `workload` on `threads` connections as fast as it goes, until it is stopped, some rows touched more often
    /// than others (sysbench's `special` distribution).
    #[must_use]
    pub fn new(workload: Script, threads: u32) -> Self {
        Self { workload, threads, seconds: None, rate: None, random: "special" }
    }

    /// Ends after so many seconds.
    #[must_use]
    pub fn seconds(mut self, seconds: u32) -> Self {
        self.seconds = Some(seconds);
        self
    }

    /// At most so many transactions a second.
    #[must_use]
    pub fn rate(mut self, per_second: u32) -> Self {
        self.rate = Some(per_second);
        self
    }

    /// Every row equally likely: the pool thrashes when the data is larger.
    #[must_use]
    pub fn uniform(mut self) -> Self {
        self.random = "uniform";
        self
    }
}

/// What sysbench reported for one second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Second {
    /// Seconds since its start.
    pub at: u32,
    /// Transactions per second.
    pub tps: f64,
    /// Queries per second.
    pub qps: f64,
    /// 95th percentile of a transaction's latency, in milliseconds.
    pub latency_p95_ms: f64,
}

/// What sysbench reported at its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Transactions in the whole time.
    pub transactions: u64,
    /// Transactions per second over the whole time.
    pub tps: f64,
    /// All seconds, in order.
    pub seconds: Vec<Second>,
}

/// A running sysbench. Dropped, it is ended.
#[derive(Debug)]
pub struct Load {
    child: Child,
    report: Arc<Mutex<Report>>,
    reader: Option<JoinHandle<()>>,
}

/// What was read so far.
#[derive(Debug, Default)]
struct Report {
    seconds: Vec<Second>,
    total: Option<(u64, f64)>,
    errors: String,
}

impl Load {
    pub(crate) fn start(spec: &LoadSpec, socket: &Path, dataset: Dataset) -> Result<Self> {
        let mut command = sysbench(spec.workload.script(), socket, dataset);
        command
            .arg(format!("--threads={}", spec.threads))
            .arg(format!("--time={}", spec.seconds.unwrap_or(0)))
            .arg("--events=0")
            .arg(format!("--rate={}", spec.rate.unwrap_or(0)))
            .arg(format!("--rand-type={}", spec.random))
            .args(["--report-interval=1", "run"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child =
            command.spawn().context("failed to start `sysbench`; the package `sysbench` has it")?;
        let stdout = child.stdout.take().context("sysbench has no output")?;
        let report = Arc::<Mutex<Report>>::default();
        let shared = Arc::clone(&report);
        let reader = thread::spawn(move || read(stdout, &shared));
        Ok(Self { child, report, reader: Some(reader) })
    }

    /// The seconds that were reported so far.
    #[must_use]
    pub fn seconds(&self) -> Vec<Second> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).seconds.clone()
    }

    /// Waits until sysbench has reported `count` seconds, so that the load is known to run.
    ///
    /// # Errors
    /// sysbench ended before.
    pub fn wait_for_seconds(&mut self, count: usize) -> Result<()> {
        while self.seconds().len() < count {
            if let Some(status) = self.child.try_wait()? {
                self.join();
                ensure!(
                    self.seconds().len() >= count,
                    "sysbench ended early: {status}{}",
                    self.errors()
                );
            }
            thread::sleep(process::POLL);
        }
        Ok(())
    }

    /// Waits for the end of a load that has one ([`LoadSpec::seconds`]).
    ///
    /// # Errors
    /// sysbench failed: the server went away, or the tables are not there.
    pub fn wait(mut self) -> Result<Summary> {
        let status = self.child.wait()?;
        self.join();
        ensure!(status.success(), "sysbench ended with {status}{}", self.errors());
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((transactions, tps)) = report.total else { bail!("sysbench gave no summary") };
        Ok(Summary { transactions, tps, seconds: report.seconds.clone() })
    }

    /// Ends the load, and gives the seconds that it reported.
    ///
    /// # Errors
    /// It did not end in time and was killed, or it had ended by an error of its own before.
    pub fn stop(mut self) -> Result<Vec<Second>> {
        if let Some(status) = self.child.try_wait()?
            && !status.success()
        {
            self.join();
            bail!("sysbench had ended with {status}{}", self.errors());
        }
        let pid = self.child.id();
        process::terminate(&mut self.child, pid, STOP_LIMIT)?;
        self.join();
        Ok(self.seconds())
    }

    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }

    fn errors(&self) -> String {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).errors.clone()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = process::kill(&mut self.child);
        self.join();
    }
}

/// The start of any sysbench command line. A database without a password, reached by its socket.
pub(crate) fn sysbench(script: &str, socket: &Path, dataset: Dataset) -> Command {
    let mut command = Command::new("sysbench");
    command
        .arg(script)
        .args(["--db-driver=mysql", "--mysql-user=root", "--mysql-db=sbtest"])
        .arg(format!("--mysql-socket={}", socket.display()))
        .arg(format!("--tables={}", dataset.tables))
        .arg(format!("--table-size={}", dataset.rows));
    command
}

/// Reads the report to its end.
fn read(stdout: ChildStdout, report: &Mutex<Report>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(second) = second(&line) {
            report.seconds.push(second);
        } else if let Some(total) = total(&line) {
            report.total = Some(total);
        } else if line.starts_with("FATAL") {
            report.errors.push('\n');
            report.errors.push_str(&line);
        }
    }
}

/// `[ 1s ] thds: 1 tps: 339.41 qps: 6799.18 (r/w/o: 4761.72/1357.64/679.82) lat (ms,95%): 3.89 err/s: ...`
fn second(line: &str) -> Option<Second> {
    let at = line.strip_prefix("[ ")?.split_once("s ]")?.0.parse().ok()?;
    Some(Second {
        at,
        tps: number_after(line, " tps: ")?,
        qps: number_after(line, " qps: ")?,
        latency_p95_ms: number_after(line, " lat (ms,95%): ")?,
    })
}

/// `    transactions:                        667    (332.92 per sec.)`
fn total(line: &str) -> Option<(u64, f64)> {
    let rest = line.trim_start().strip_prefix("transactions:")?;
    Some((rest.split_whitespace().next()?.parse().ok()?, number_after(rest, "(")?))
}

fn number_after(line: &str, label: &str) -> Option<f64> {
    line.split_once(label)?.1.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_read() {
        let line = "[ 12s ] thds: 1 tps: 339.41 qps: 6799.18 (r/w/o: 4761.72/1357.64/679.82) \
                    lat (ms,95%): 3.89 err/s: 0.00 reconn/s: 0.00";
        let expected = Second { at: 12, tps: 339.41, qps: 6799.18, latency_p95_ms: 3.89 };
        assert_eq!(second(line), Some(expected));
        let line = "    transactions:                        667    (332.92 per sec.)";
        assert_eq!(total(line), Some((667, 332.92)));
        assert_eq!(second("Threads started!"), None);
    }
}
