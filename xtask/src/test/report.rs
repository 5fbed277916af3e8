//! Reads what test programs print and counts: a test that says `skipped: NAME: REASON` did not pass. Tests
//! run one at a time, so the time between two lines is what a test took.

use std::time::{Duration, Instant};

/// Tests that are named for the time that they took.
const SLOWEST: usize = 20;
/// What nobody waits for.
const SHORT: Duration = Duration::from_secs(5);

/// The counts of a whole run.
#[derive(Debug, Default)]
pub(super) struct TestReport {
    /// What the test programs call passed, those included that say they were skipped.
    passed: usize,
    /// How many of them those are.
    passed_but_skipped: usize,
    failed: usize,
    /// `NAME: REASON` of each skipped test.
    skipped: Vec<String>,
    /// Names of the failed tests.
    failures: Vec<String>,
    section: Section,
    /// Whether a test program has begun and not given its result yet.
    in_program: bool,
    /// Whether what is being read is the output of a test that ran a test program itself.
    nested: bool,
    /// Whether the test whose output is being read has been counted as skipped.
    counted: bool,
    /// When the last test ended, or its program began.
    since: Option<Instant>,
    /// What each test took.
    took: Vec<(Duration, String)>,
    /// What each job took.
    jobs: Vec<(Duration, String)>,
}

/// Which part of a test program's output is being read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Section {
    #[default]
    Running,
    /// Captured output of tests that passed (`--show-output`).
    Successes,
    /// Captured output of tests that failed.
    Failures,
}

impl TestReport {
    /// Takes the next line of standard output, which came at `now`.
    pub(super) fn line(&mut self, line: &str, now: Instant) {
        if self.nested {
            self.nested = !line.starts_with("test result: ");
        } else if is_start(line) && self.section != Section::Running {
            self.nested = true;
        } else if is_start(line) {
            self.end_program();
            self.in_program = true;
            self.section = Section::Running;
            self.since = Some(now);
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.passed += count(result, "passed");
            self.failed += count(result, "failed");
            self.in_program = false;
            self.section = Section::Running;
        } else if line == "successes:" {
            self.section = Section::Successes;
        } else if line == "failures:" {
            self.section = Section::Failures;
        } else if line.starts_with("---- ") {
            self.counted = false;
        } else if self.section == Section::Running {
            self.status(line, now);
        } else if self.section == Section::Successes
            && let Some(skipped) = line.strip_prefix("skipped: ")
        {
            self.skip(skipped);
        }
    }

    /// Takes the end of all output of the job `name`; `succeeded` is what its exit status says.
    pub(super) fn end(&mut self, succeeded: bool, name: &str, took: Duration) {
        self.end_program();
        if !succeeded && self.failed == 0 {
            self.failed += 1;
            self.failures.push(format!("{name} itself (see above)"));
        }
        self.jobs.push((took, name.to_owned()));
    }

    /// Adds the counts of another job.
    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.passed_but_skipped += other.passed_but_skipped;
        self.failed += other.failed;
        self.skipped.extend(other.skipped);
        self.failures.extend(other.failures);
        self.took.extend(other.took);
        self.jobs.extend(other.jobs);
    }

    /// Whether something ran and nothing failed.
    pub(super) fn is_good(&self) -> bool {
        self.failed == 0 && self.really_passed() > 0
    }

    /// What is printed at the end; the last line has the counts.
    pub(super) fn summary(&self) -> String {
        let mut text = self.slowest();
        for name in &self.failures {
            text.push_str(&format!("failed: {name}\n"));
        }
        for skipped in &self.skipped {
            text.push_str(&format!("skipped: {skipped}\n"));
        }
        let (passed, failed, skipped) = (self.really_passed(), self.failed, self.skipped.len());
        text + &format!("{passed} passed, {failed} failed, {skipped} skipped")
    }

    /// The tests that take most of the time, longest first, and the programs.
    fn slowest(&self) -> String {
        let all: Duration = self.took.iter().map(|(took, _)| *took).sum();
        let tests = longest(&self.took);
        if tests.is_empty() {
            return tests;
        }
        let programs = longest(&self.jobs);
        format!(
            "tests took {:.0} s, of which the longest:\n{tests}\nprograms, some of them side by side:\n{programs}\n",
            all.as_secs_f64()
        )
    }

    fn really_passed(&self) -> usize {
        self.passed.saturating_sub(self.passed_but_skipped)
    }

    /// `test NAME ... ok`, `... FAILED`, `... ignored, REASON`
    fn status(&mut self, line: &str, now: Instant) {
        let Some((name, status)) =
            line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        else {
            return;
        };
        if let Some(since) = self.since.replace(now) {
            self.took.push((now.saturating_duration_since(since), name.to_owned()));
        }
        if status == "FAILED" {
            self.failures.push(name.to_owned());
        } else if let Some(reason) = status.strip_prefix("ignored") {
            let reason = reason.trim_start_matches(", ");
            let reason = if reason.is_empty() { "no reason given" } else { reason };
            self.skipped.push(format!("{name}: {reason}"));
        }
    }

    /// A passed test that reports that it could not run. Its further reasons are of the same test.
    fn skip(&mut self, text: &str) {
        if self.counted {
            return;
        }
        self.counted = true;
        self.passed_but_skipped += 1;
        self.skipped.push(text.to_owned());
    }

    /// A program that ends without a result was killed: a crash, or an exit within a test.
    fn end_program(&mut self) {
        if std::mem::take(&mut self.in_program) {
            self.failed += 1;
            self.failures.push("a test program ended before its last test".to_owned());
        }
    }
}

/// What took longest and is not short, a line each.
fn longest(took: &[(Duration, String)]) -> String {
    let mut long: Vec<_> = took.iter().filter(|(took, _)| *took >= SHORT).collect();
    long.sort_by(|one, other| other.cmp(one));
    let lines = long.iter().take(SLOWEST);
    lines.map(|(took, name)| format!("{:>6.1} s  {name}\n", took.as_secs_f64())).collect()
}

/// `running 12 tests`
fn is_start(line: &str) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    matches!(words.as_slice(), ["running", number, "test" | "tests"] if number.parse::<u32>().is_ok())
}

/// The number before `what` in `ok. 5 passed; 0 failed; 1 ignored; ...`
fn count(result: &str, what: &str) -> usize {
    let words: Vec<&str> = result.split([' ', ';']).collect();
    let at = words.iter().position(|word| *word == what);
    at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::TestReport;

    fn report(text: &str, cargo_succeeded: bool) -> TestReport {
        let mut report = TestReport::default();
        text.lines().for_each(|line| report.line(line, Instant::now()));
        report.end(cargo_succeeded, "tests", Duration::ZERO);
        report
    }

    fn last_line(report: &TestReport) -> String {
        report.summary().lines().last().unwrap().to_owned()
    }

    /// A test may run its own program again, and print what that prints.
    #[test]
    fn a_test_program_in_the_output_of_a_test_does_not_count() {
        let text = "
running 1 test
test a::b ... ok

successes:

---- a::b stdout ----

running 1 test
test a::b ... ok

successes:
    a::b

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s

skipped: b: no root here

successes:
    a::b

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.20s
";
        let report = report(text, true);
        assert_eq!(last_line(&report), "0 passed, 0 failed, 1 skipped");
        // One that ends in the middle of what such a test printed has failed.
        let cut = text.rfind("skipped").unwrap();
        assert!(last_line(&super::tests::report(&text[..cut], true)).contains("1 failed"));
    }

    #[test]
    fn programs_are_summed_and_skips_do_not_pass() {
        // What rustc 1.95's test harness prints with `--show-output`.
        let text = "
running 3 tests
test a::b ... ok
test a::c ... ok
test a::d ... ignored, takes an hour

successes:

---- a::b stdout ----
skipped: b: no root here
skipped: b: and no network

---- a::c stdout ----
all fine

successes:
    a::b
    a::c

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s

running 1 test
test e ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s
";
        let report = report(text, true);
        assert_eq!(last_line(&report), "2 passed, 0 failed, 2 skipped");
        assert!(report.summary().contains("skipped: b: no root here\n"));
        assert!(report.summary().contains("skipped: a::d: takes an hour\n"));
        assert!(report.is_good());
    }

    #[test]
    fn the_longest_tests_are_named() {
        let (mut report, mut now) = (TestReport::default(), Instant::now());
        // Between two programs the next one is built or started.
        for (line, seconds) in [
            ("running 3 tests", 100),
            ("test a::short ... ok", 1),
            ("test a::long ... ok", 8),
            ("test a::longest ... FAILED", 90),
            ("test result: FAILED. 2 passed; 1 failed; 0 ignored", 0),
            ("running 1 test", 50),
            ("test b::middle ... ok", 30),
            ("test result: ok. 1 passed; 0 failed; 0 ignored", 0),
        ] {
            now += Duration::from_secs(seconds);
            report.line(line, now);
        }
        report.end(false, "tests", Duration::from_secs(179));
        let lines: Vec<String> = report.summary().lines().map(str::to_owned).collect();
        let expected = [
            "tests took 129 s, of which the longest:",
            "  90.0 s  a::longest",
            "  30.0 s  b::middle",
            "   8.0 s  a::long",
            "",
            "programs, some of them side by side:",
            " 179.0 s  tests",
            "",
            "failed: a::longest",
            "3 passed, 1 failed, 0 skipped",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_failed_test_is_not_skipped() {
        let text = "
running 1 test
test a ... FAILED

failures:

---- a stdout ----
skipped: a: half of it

test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s
";
        let report = report(text, false);
        assert_eq!(report.summary(), "failed: a\n0 passed, 1 failed, 0 skipped");
        assert!(!report.is_good());
    }

    #[test]
    fn a_program_without_result_has_failed() {
        let crashed = report("running 2 tests\ntest a ... ok\n", false);
        assert_eq!(last_line(&crashed), "0 passed, 1 failed, 0 skipped");
        let two = "running 1 test\nrunning 1 test\ntest result: ok. 1 passed; 0 failed; 0 ignored";
        assert_eq!(last_line(&report(two, false)), "1 passed, 1 failed, 0 skipped");
    }

    #[test]
    fn nothing_run_is_not_good() {
        assert!(!report("", true).is_good());
        assert_eq!(last_line(&report("", false)), "0 passed, 1 failed, 0 skipped");
    }
}
