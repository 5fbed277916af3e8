//! The process that reads foreign files has limits, and nobody waits for it longer than is of use.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use symbols::Error;
use symbols::isolated::{IsolatedError, Isolation};
use userspace::server::{Server, ServerError};
use userspace::target::{Target, TargetError};

use crate::lab::{Lab, POOLFERRY, abbreviations, options, resolve, slow, tiny_units};

fn isolation() -> Isolation {
    Isolation::by(PathBuf::from(POOLFERRY))
}

/// The error, which names a limit and a remedy.
#[track_caller]
fn limit(error: Error) -> IsolatedError {
    println!("{error}\nhint: {:?}", error.hint());
    assert!(error.hint().unwrap().contains("--profiles"), "{:?}", error.hint());
    match error {
        Error::Isolated(error) => *error,
        other => panic!("{other}"),
    }
}

#[test]
fn processor_time_ends() {
    let Some(lab) = Lab::with("processor_time_ends", &["-g"]) else { return };
    let program = slow(&lab, "slow");
    let mut isolation = isolation();
    isolation.limits.cpu = Duration::from_secs(1);
    let error = limit(resolve(&program, &options(isolation)).unwrap_err());
    assert!(matches!(error, IsolatedError::Cpu { limit } if limit.as_secs() == 1), "{error}");
}

#[test]
fn time_ends() {
    let Some(lab) = Lab::with("time_ends", &["-g"]) else { return };
    let program = slow(&lab, "slow");
    let mut isolation = isolation();
    isolation.limits.wall = Duration::from_millis(500);
    let error = limit(resolve(&program, &options(isolation)).unwrap_err());
    assert!(matches!(error, IsolatedError::Slow { .. }), "{error}");
}

#[test]
fn memory_ends() {
    let Some(lab) = Lab::with("memory_ends", &["-g"]) else { return };
    // All of them are read, as none is of a known source, and each is kept.
    let (units, table) = (tiny_units(400_000, 0, 1), abbreviations(1));
    let sections = [(".debug_info", &units[..], false), (".debug_abbrev", &table[..], false)];
    let program = lab.changed("many", &sections);
    let mut isolation = isolation();
    isolation.limits.work_bytes = 4 << 20;
    let mut options = options(isolation);
    // What is not taken by copies may be taken for work.
    options.budget_bytes = Some(64 << 20);
    let error = limit(resolve(&program, &options).unwrap_err());
    assert!(matches!(error, IsolatedError::Memory { .. }), "{error}");
}

/// A process that runs a program whose debug information is read for minutes; ended with the test.
struct Running(Child);

impl Running {
    fn start(program: &PathBuf) -> Self {
        let mut child = Command::new(program).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        Self(child)
    }

    fn end(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
fn the_process_that_is_observed_ends() {
    let Some(lab) = Lab::with("the_process_that_is_observed_ends", &["-g"]) else { return };
    let mut server = Running::start(&slow(&lab, "slow"));
    let target = Target::of(server.0.id()).unwrap();
    let opening = std::thread::spawn(move || {
        let opened = Server::open(target, &options(isolation()));
        (opened.err(), Instant::now())
    });
    std::thread::sleep(Duration::from_secs(1));
    assert!(!opening.is_finished(), "it is read for longer");
    let end = Instant::now();
    server.end();
    let (error, at) = opening.join().unwrap();
    let waited = at.duration_since(end);
    println!("{waited:?} later: {error:?}");
    assert!(matches!(error, Some(ServerError::Target(TargetError::Gone { .. }))), "{error:?}");
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}
