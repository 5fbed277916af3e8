//! Runs test programs: the longest, which waits most of the time, beside the others; then those that have to be alone.

use std::io::{BufRead as _, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::programs::Turn;
use super::report::TestReport;

/// A program, or a cargo that runs some.
pub(super) struct Job {
    pub(super) name: String,
    pub(super) turn: Turn,
    pub(super) command: Command,
}

/// An event of a lane.
enum Event {
    Line(String),
    /// How a job ended.
    Ended(TestReport),
}

/// Runs all jobs, and gives their counts. Their output goes to `out`; that of a job that runs beside another when it ends.
pub(super) fn run(mut jobs: Vec<Job>, out: &mut impl Write) -> Result<TestReport> {
    jobs.sort_by(|one, other| (one.turn, &one.name).cmp(&(other.turn, &other.name)));
    let alone = jobs.split_off(jobs.partition_point(|job| job.turn < Turn::Alone));
    let beside = jobs.split_off(jobs.partition_point(|job| job.turn == Turn::Longest));
    let mut report = TestReport::default();
    let (sender, events) = mpsc::channel();
    let both = [
        {
            let sender = sender.clone();
            thread::spawn(move || lane(jobs, &sender, Shown::AtOnce))
        },
        {
            let sender = sender;
            thread::spawn(move || lane(beside, &sender, Shown::AtTheEnd))
        },
    ];
    listen(&events, &mut report, out)?;
    for lane in both {
        lane.join().unwrap_or_else(|_| anyhow::bail!("a thread that runs tests panicked"))?;
    }
    let (sender, events) = mpsc::channel();
    let last = thread::spawn(move || lane(alone, &sender, Shown::AtOnce));
    listen(&events, &mut report, out)?;
    last.join().unwrap_or_else(|_| anyhow::bail!("a thread that runs tests panicked"))?;
    Ok(report)
}

fn listen(
    events: &mpsc::Receiver<Event>,
    report: &mut TestReport,
    out: &mut impl Write,
) -> Result<()> {
    for event in events {
        match event {
            Event::Line(line) => out.write_all(line.as_bytes())?,
            Event::Ended(of_job) => report.add(of_job),
        }
    }
    Ok(())
}

/// When the output of a job is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    AtOnce,
    AtTheEnd,
}

/// Runs jobs one after the other.
fn lane(jobs: Vec<Job>, sender: &Sender<Event>, shown: Shown) -> Result<()> {
    for mut job in jobs {
        let begun = Instant::now();
        let mut kept = format!("\n     Running {}\n", job.name);
        let mut report = TestReport::default();
        let mut child = job.command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let child = child.as_mut().ok().with_context(|| format!("failed to start {}", job.name))?;
        let stdout = child.stdout.take().context("a test program has no output")?;
        let (mut lines, mut line) = (BufReader::new(stdout), Vec::new());
        // Tests may print what is no UTF-8.
        while lines.read_until(b'\n', &mut line)? > 0 {
            let text = String::from_utf8_lossy(&line);
            report.line(text.trim_end(), Instant::now());
            kept.push_str(&text);
            if shown == Shown::AtOnce {
                let _ = sender.send(Event::Line(std::mem::take(&mut kept)));
            }
            line.clear();
        }
        report.end(child.wait()?.success(), &job.name, begun.elapsed());
        let _ = sender.send(Event::Line(kept));
        let _ = sender.send(Event::Ended(report));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn job(name: &str, turn: Turn, script: &str) -> Job {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Job { name: name.to_owned(), turn, command }
    }

    /// What a test program prints.
    fn passes(first: &str) -> String {
        format!(
            "{first}; echo running 1 test; echo 'test a ... ok'; echo 'test result: ok. 1 passed; 0 failed; 0 ignored'"
        )
    }

    /// The longest waits for a file that the one beside it makes; a job that is alone comes when both are over.
    #[test]
    fn two_run_side_by_side_and_the_others_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let (beside, longest) = (file("beside"), file("longest"));
        let waits = format!(
            "for i in $(seq 200); do [ -e {beside} ] && break; sleep .05; done; [ -e {beside} ] || exit 1; sleep .1; touch {longest}"
        );
        let jobs = vec![
            job("alone", Turn::Alone, &passes(&format!("[ -e {longest} ] || exit 1"))),
            job("beside", Turn::Beside, &passes(&format!("touch {beside}"))),
            job("longest", Turn::Longest, &passes(&waits)),
        ];
        // What they print must not be taken for the output of this program.
        let report = run(jobs, &mut io::sink()).unwrap();
        assert!(report.is_good(), "{}", report.summary());
        assert!(
            report.summary().ends_with("3 passed, 0 failed, 0 skipped"),
            "{}",
            report.summary()
        );
    }

    #[test]
    fn a_program_that_fails_without_a_test_is_named() {
        let jobs =
            vec![job("lonely", Turn::Beside, "exit 3"), job("good", Turn::Beside, &passes("true"))];
        let mut shown = Vec::new();
        let report = run(jobs, &mut shown).unwrap();
        assert!(String::from_utf8(shown).unwrap().contains("test a ... ok"));
        assert!(!report.is_good());
        assert!(
            report.summary().contains("failed: lonely itself (see above)"),
            "{}",
            report.summary()
        );
    }
}
