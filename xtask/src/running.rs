//! Whether a database server runs here that `poolferry` can observe. A name proves nothing, so the program itself is
//! asked: `poolferry doctor` looks at every process that is called like a server.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// What there is.
#[derive(Debug)]
pub(crate) enum Running {
    /// A server, or several: `poolferry trace` observes it, or lists them with their differences.
    Observable,
    /// None; of a process that is called like one, why it is none.
    None(Vec<String>),
}

/// A finding of `poolferry doctor` on the server: `  ok       buffer pool  512 MiB in ...`.
struct Check {
    status: String,
    name: String,
    found: String,
}

impl Check {
    /// Nothing where the line is another, such as a remedy.
    fn of(line: &str) -> Option<Self> {
        let (status, rest) = line.strip_prefix("  ")?.split_once("  ")?;
        let (name, found) = rest.trim_start().split_once("  ")?;
        let [status, name, found] = [status, name, found].map(|part| part.trim().to_owned());
        (!status.is_empty()).then_some(Self { status, name, found })
    }
}

/// Asks the `doctor`. What it finds of the machine is nothing to us.
pub(crate) fn examine(doctor: &mut Command) -> Result<Running> {
    let output = doctor.stderr(Stdio::inherit()).output();
    let output = output.context("failed to start `poolferry doctor`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().skip_while(|line| *line != "The server").skip(1);
    let checks: Vec<Check> =
        lines.map_while(|line| (!line.is_empty()).then(|| Check::of(line))).flatten().collect();
    ensure!(
        !checks.is_empty(),
        "`poolferry doctor` ended with {} and found nothing",
        output.status
    );
    Ok(of(checks))
}

fn of(checks: Vec<Check>) -> Running {
    let is = |check: &Check, name: &str, status: &str| check.name == name && check.status == status;
    // Its buffer pool is what proves a server. Of several that have one, only the first check decides.
    let proven = |check: &Check| is(check, "buffer pool", "ok") || is(check, "server", "warning");
    if checks.iter().any(proven) {
        return Running::Observable;
    }
    let failed = checks.iter().any(|check| check.status == "FAIL");
    let is_reason = |check: &Check| check.status == "FAIL" || check.name == "server";
    let reasons = checks.into_iter().filter(is_reason).map(|check| check.found);
    Running::None(if failed { reasons.collect() } else { Vec::new() })
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::Child;

    use test_servers::{Config, Server, skipped};

    use super::*;

    /// A process called mysqld that is none; it ends with this.
    struct Squatter(Child);

    impl Squatter {
        fn start(program: &Path) -> Self {
            Self(Command::new(program).arg("1000").spawn().unwrap())
        }
    }

    impl Drop for Squatter {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// What runs among these processes; others' servers on this machine are none of the test's business.
    fn among(program: &Path, pids: &[u32]) -> Running {
        let mut doctor = Command::new(program);
        doctor.arg("doctor");
        doctor.args(pids.iter().flat_map(|pid| ["--pid".to_owned(), pid.to_string()]));
        examine(&mut doctor).unwrap()
    }

    #[test]
    fn a_squatter_is_no_reason_to_do_without_the_demo() {
        let test = "a_squatter_is_no_reason_to_do_without_the_demo";
        let Some(program) = std::env::var_os("POOLFERRY_BIN").map(PathBuf::from) else {
            return skipped(test, "no program is named by POOLFERRY_BIN");
        };
        if !rustix::process::geteuid().is_root() {
            return skipped(test, "observing wants root");
        }
        let folder = tempfile::tempdir().unwrap();
        let program_of_both = folder.path().join("mysqld");
        // Written by another process: whoever starts it finds it closed.
        let copied = Command::new("cp").arg("/bin/sleep").arg(&program_of_both).status().unwrap();
        assert!(copied.success());
        let (one, other) = (Squatter::start(&program_of_both), Squatter::start(&program_of_both));
        let squatters = [one.0.id(), other.0.id()];
        for pids in [&squatters[..1], &squatters] {
            let Running::None(reasons) = among(&program, pids) else {
                panic!("{pids:?} were taken for servers");
            };
            assert!(!reasons.is_empty(), "{pids:?}: nothing is reported of them");
        }
        let Ok(server) = Server::mysql56(Config::new().pool_mib(16)) else {
            return skipped(test, "MySQL 5.6.24 is not installed");
        };
        for pids in [&[server.pid()][..], &[squatters[0], squatters[1], server.pid()]] {
            let running = among(&program, pids);
            assert!(matches!(running, Running::Observable), "{pids:?}: {running:?}");
        }
    }

    #[test]
    fn several_servers_are_a_reason_and_none_is_not() {
        let check = |name: &str, status: &str| Check {
            status: status.to_owned(),
            name: name.to_owned(),
            found: String::new(),
        };
        assert!(matches!(of(vec![check("server", "warning")]), Running::Observable));
        let Running::None(reasons) = of(vec![check("server", "ok")]) else {
            panic!("no server runs");
        };
        assert!(reasons.is_empty(), "nobody was passed over");
    }
}
