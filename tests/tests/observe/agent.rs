//! The built program.

use std::env;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use test_servers::skipped;

/// `poolferry`, as `cargo xtask test` built it.
pub(crate) struct Agent {
    program: PathBuf,
}

impl Agent {
    /// Finds it where `POOLFERRY_BIN` says, else beside the folder of this test's program; says so
    /// where it has not been built.
    pub(crate) fn find(test: &str) -> Option<Self> {
        let program = env::var_os("POOLFERRY_BIN").map(PathBuf::from).or_else(|| {
            let own = env::current_exe().ok()?;
            Some(own.parent()?.parent()?.join("poolferry"))
        })?;
        if !program.is_file() {
            skipped(test, "the program is not built (`cargo build -p userspace --bins`)");
            return None;
        }
        Some(Self { program })
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        command
    }

    /// Runs it to its end.
    pub(crate) fn try_run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs it to its end, which must be a good one.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let output = self.try_run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", complaint(&output));
        output
    }

    /// Starts it with its output to be read.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.program
    }
}

/// What a program wrote to standard error.
pub(crate) fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
