//! Programs in the guest.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result};
use lab::protocol::GuestReply;
use rustix::process::{Pid, Signal, kill_process};
use test_servers::command;

use crate::port::SharedPort;

/// Those that were started, by name.
pub(crate) struct RunningPrograms {
    port: SharedPort,
    pids: HashMap<String, u32>,
}

impl RunningPrograms {
    pub(crate) fn new(port: SharedPort) -> Self {
        Self { port, pids: HashMap::new() }
    }

    /// Runs a program to its end, beside the caller, and answers with its output.
    pub(crate) fn run(&self, id: u64, argv: Vec<String>, input: String) {
        let port = self.port.clone();
        thread::spawn(move || port.answer(id, run(&argv, &input)));
    }

    /// Starts a program whose lines are passed on.
    pub(crate) fn start(
        &mut self,
        name: String,
        argv: &[String],
        env: Vec<(String, String)>,
    ) -> Result<()> {
        let mut child = build(argv)?
            .envs(env)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start {name}"))?;
        self.pids.insert(name.clone(), child.id());
        let pipes = [
            child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
            child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
        ];
        for pipe in pipes.into_iter().flatten() {
            let (port, name) = (self.port.clone(), name.clone());
            thread::spawn(move || {
                let mut lines = BufReader::new(pipe).split(b'\n');
                while let Some(Ok(line)) = lines.next() {
                    let text = String::from_utf8_lossy(&line).into_owned();
                    port.send(&GuestReply::Line { name: name.clone(), text });
                }
            });
        }
        let port = self.port.clone();
        thread::spawn(move || report_end(&port, name, child));
        Ok(())
    }

    /// Sends a signal to one that was started.
    pub(crate) fn signal(&self, name: &str, signal: i32) -> Result<()> {
        let pid = self.pids.get(name).with_context(|| format!("{name} was never started"))?;
        let pid = Pid::from_raw(i32::try_from(*pid)?).context("no process")?;
        let signal = Signal::from_named_raw(signal).context("no such signal")?;
        Ok(kill_process(pid, signal)?)
    }
}

fn run(argv: &[String], input: &str) -> Result<String> {
    let mut command = build(argv)?;
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut pipe = child.stdin.take().context("no input")?;
    let output = thread::scope(|scope| {
        // In a thread of its own: the program may write before it has read all.
        scope.spawn(move || pipe.write_all(input.as_bytes()));
        child.wait_with_output()
    })?;
    command::check(&command, &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn build(argv: &[String]) -> Result<Command> {
    let (program, arguments) = argv.split_first().context("no program")?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

fn report_end(port: &SharedPort, name: String, mut child: Child) {
    let status = match child.wait() {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    port.send(&GuestReply::Ended { name, status });
}
