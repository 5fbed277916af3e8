//! A running process is searched through `/proc/PID/exe` and `/proc/PID/root`.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use symbols::debug_file::{DebugFiles, SearchOptions, SplitUnit, find};
use symbols::elf::Program;

use crate::common::skip;
use crate::lab::{Lab, PROGRAM, assert_found_at, list};

const TOOLS: [&str; 3] = ["gcc", "objcopy", "strip"];

#[test]
fn in_the_observers_own_root() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    let debug = lab.install(&[]);
    lab.put(&debug, "/usr/sbin/server.debug");
    let server = Server::start(Command::new(lab.inside(PROGRAM)).arg("wait"));
    let real = lab.inside("/usr/sbin/server.debug").canonicalize().unwrap();
    assert_found_at(&server.find(), &server.root(real.to_str().unwrap()));
}

#[test]
fn in_a_root_of_its_own() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    if !rustix::process::geteuid().is_root() {
        return skip("chroot wants root");
    }
    let debug = lab.install(&["-static"]);
    lab.put(&debug, "/usr/sbin/.debug/server.debug");
    let server = Server::start(Command::new("chroot").arg(lab.root()).args([PROGRAM, "wait"]));
    assert_found_at(&server.find(), &server.root("/usr/sbin/.debug/server.debug"));
}

#[test]
fn after_its_program_was_deleted() {
    let Some(lab) = Lab::with(&TOOLS) else { return };
    let debug = lab.install(&[]);
    lab.put(&debug, "/usr/sbin/server.debug");
    let server = Server::start(Command::new(lab.inside(PROGRAM)).arg("wait"));
    let real = lab.inside("/usr/sbin/server.debug").canonicalize().unwrap();
    std::fs::remove_file(lab.inside(PROGRAM)).unwrap();
    let mut files = server.find();
    assert_found_at(&files, &server.root(real.to_str().unwrap()));

    // The kernel marks the link of a deleted program; that mark is no part of its name.
    let unit = SplitUnit { id: gimli::DwoId(1), name: b"none.dwo", comp_dir: b"" };
    assert!(files.dwo.load(&unit, &mut files.tried).is_none());
    assert!(list(&files).contains("/usr/sbin/server.dwp`"), "{}", list(&files));
}

/// A process that is up; ended when the test is.
struct Server(Child);

impl Server {
    fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut server = Self(child.expect("the server starts"));
        let mut line = String::new();
        let stdout = server.0.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("the server says that it is up");
        assert_eq!(line, "up\n");
        server
    }

    fn find(&self) -> DebugFiles {
        let exe = PathBuf::from(format!("/proc/{}/exe", self.0.id()));
        find(&Program::open(&exe).unwrap(), &self.root(""), &SearchOptions::default())
    }

    fn root(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.0.id()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; it must not stay either way.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
