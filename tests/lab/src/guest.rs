//! The guest as the laboratory sees it: what runs in it, what it said, and when.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use migration_record::GuestSystem;
use test_servers::Release;

use crate::port::{GuestMessage, Port};
use crate::protocol::{GuestReply, GuestRequest, Tick};
use crate::vm::Machine;
use crate::{server, wait};

/// A guest without an accelerator boots within this time, on a machine that does other things.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
/// The server answers within this time.
const SERVER_LIMIT: Duration = Duration::from_secs(240);
/// A single question is answered within this time; reading all tables is the longest.
const ANSWER_LIMIT: Duration = Duration::from_secs(900);
/// Name of the server among the programs of a guest.
pub(crate) const SERVER: &str = "server";
/// Time between two ticks.
pub const TICK_MS: u32 = 10;

/// A line that a program in the guest wrote, and when it arrived here.
#[derive(Debug, Clone)]
pub struct Line {
    /// When it arrived.
    pub at: Instant,
    /// The line.
    pub text: String,
}

/// A guest that has booted.
#[derive(Debug)]
pub struct Guest {
    port: Port,
    lines: BTreeMap<String, Vec<Line>>,
    ended: BTreeMap<String, String>,
    ticks: Vec<(Instant, Tick)>,
}

impl Guest {
    /// Waits until the guest that boots in `machine` says that it is up.
    ///
    /// # Errors
    /// It does not, or QEMU ends; the text has what the guest wrote to its console.
    pub fn boots(machine: &mut Machine) -> Result<Self> {
        let mut port = Port::new();
        let stream = port.connect(&machine.port())?;
        port.speak_to(stream);
        let up = wait::until("the guest is up", BOOT_LIMIT, || {
            machine.process().still_runs()?;
            Ok(port
                .receive()
                .any(|message| matches!(message.reply, GuestReply::Hello))
                .then_some(()))
        });
        up.with_context(|| format!("the guest does not boot:\n{}", machine.console()))?;
        Ok(Self { port, lines: BTreeMap::new(), ended: BTreeMap::new(), ticks: Vec::new() })
    }

    /// Listens behind `socket` too, where the guest will arrive.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn expect_at(&self, socket: &Path) -> Result<UnixStream> {
        self.port.connect(socket)
    }

    /// The guest has arrived behind `stream`.
    pub fn arrived(&mut self, stream: UnixStream) {
        self.port.speak_to(stream);
    }

    /// Runs a program in the guest and gives its output.
    ///
    /// # Errors
    /// It fails (the text has what it wrote), or the guest does not answer.
    pub fn run(&mut self, argv: &[&str], input: &str) -> Result<String> {
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        let what = argv.join(" ");
        self.answer(&what, GuestRequest::Run { argv, input: input.to_owned() })
    }

    /// Starts a program in the guest.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&mut self, name: &str, argv: &[&str], env: &[(&str, &str)]) -> Result<()> {
        self.receive();
        self.lines.remove(name);
        self.ended.remove(name);
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        let env = env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        self.answer(name, GuestRequest::Start { name: name.to_owned(), argv, env }).map(drop)
    }

    /// Sends a signal to a program that was started.
    ///
    /// # Errors
    /// It was never started, or has ended.
    pub fn signal(&mut self, name: &str, signal: rustix::process::Signal) -> Result<()> {
        let request = GuestRequest::Signal { name: name.to_owned(), signal: signal.as_raw() };
        self.answer(name, request).map(drop)
    }

    /// Begins to tick.
    ///
    /// # Errors
    /// The guest does not answer.
    pub fn tick(&mut self) -> Result<()> {
        self.answer("tick", GuestRequest::Tick { every_ms: TICK_MS }).map(drop)
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Errors
    /// It ends, or does not answer in time; the text has what it wrote.
    pub fn start_server(&mut self, release: Release) -> Result<()> {
        let (argv, env) = server::command(release);
        self.start(SERVER, &argv, &env)?;
        let since = Instant::now();
        while let Err(error) = self.sql("SELECT 1") {
            if self.how_ended(SERVER).is_some() || since.elapsed() > SERVER_LIMIT {
                let log: Vec<_> = self.lines(SERVER).iter().map(|l| l.text.as_str()).collect();
                bail!("{release} does not run in the guest\n{}\n{error:#}", log.join("\n"));
            }
            wait::pause(Duration::from_millis(500))?;
        }
        Ok(())
    }

    /// What runs in the VM, as server and kernel say it.
    ///
    /// # Errors
    /// The server does not answer.
    pub(crate) fn system(&mut self, release: Release) -> Result<GuestSystem> {
        let version = self.sql("SELECT VERSION()")?.concat();
        let kernel = self.run(&["uname", "-r"], "")?;
        let server = format!("{} {version}", release.family());
        Ok(GuestSystem { server: server.into(), kernel: kernel.trim().into() })
    }

    /// Runs SQL statements and gives the rows of all results, cells parted by tabs.
    ///
    /// # Errors
    /// A statement fails; those after it are not run.
    pub fn sql(&mut self, sql: &str) -> Result<Vec<String>> {
        let argv = [
            "mariadb",
            "--no-defaults",
            "--user=root",
            // From 11.4 on it talks to no server without a certificate, not even over a socket.
            "--skip-ssl",
            "--batch",
            "--skip-column-names",
            "--socket=/run/mysqld.sock",
        ];
        Ok(self.run(&argv, sql)?.lines().map(str::to_owned).collect())
    }

    /// The single value that `sql` gives, as a number.
    ///
    /// # Errors
    /// As for [`sql`](Self::sql), or it is no number.
    pub fn number(&mut self, sql: &str) -> Result<u64> {
        let rows = self.sql(sql)?;
        let cell = rows.first().and_then(|row| row.split('\t').next_back());
        let cell = cell.with_context(|| format!("`{sql}` gave no row"))?;
        cell.parse().with_context(|| format!("`{sql}` gave `{cell}`"))
    }

    /// Takes note of what has come.
    pub fn receive(&mut self) {
        let Self { port, lines, ended, ticks } = self;
        for message in port.receive() {
            note(message, lines, ended, ticks);
        }
    }

    /// Lines that the program `name` has written so far.
    pub fn lines(&mut self, name: &str) -> &[Line] {
        self.receive();
        self.lines.get(name).map_or(&[], Vec::as_slice)
    }

    /// How the program `name` has ended, if it has.
    pub fn how_ended(&mut self, name: &str) -> Option<&str> {
        self.receive();
        self.ended.get(name).map(String::as_str)
    }

    /// All ticks so far, with their arrival here.
    pub fn ticks(&mut self) -> &[(Instant, Tick)] {
        self.receive();
        &self.ticks
    }

    fn answer(&mut self, what: &str, request: GuestRequest) -> Result<String> {
        let wanted = self.port.request(request)?;
        let Self { port, lines, ended, ticks } = self;
        port.listen(&format!("the guest's answer to `{what}`"), ANSWER_LIMIT, |message| {
            match message.reply {
                GuestReply::Done { id, output } if id == wanted => return Ok(Some(output)),
                GuestReply::Failed { id, reason } if id == wanted => {
                    bail!("in the guest: {reason}")
                }
                _ => note(message, lines, ended, ticks),
            }
            Ok(None)
        })
    }
}

fn note(
    message: GuestMessage,
    lines: &mut BTreeMap<String, Vec<Line>>,
    ended: &mut BTreeMap<String, String>,
    ticks: &mut Vec<(Instant, Tick)>,
) {
    match message.reply {
        GuestReply::Line { name, text } => {
            lines.entry(name).or_default().push(Line { at: message.at, text })
        }
        GuestReply::Ended { name, status } => drop(ended.insert(name, status)),
        GuestReply::Tick(tick) => ticks.push((message.at, tick)),
        // Answers that nobody waits for any more.
        GuestReply::Hello | GuestReply::Done { .. } | GuestReply::Failed { .. } => {}
    }
}
