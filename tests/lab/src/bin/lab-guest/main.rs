//! Process 1 of the laboratory's guest: does what the laboratory asks over a virtio-serial port, and ticks.
//!
//! It knows nothing of databases or migrations, so that a change of what a laboratory does needs no other guest.

mod port;
mod programs;
mod ticker;

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::protocol::{GuestReply, GuestRequest, NumberedRequest, PORT};

use crate::port::SharedPort;
use crate::programs::RunningPrograms;
use crate::ticker::Ticker;

fn main() -> Result<()> {
    let file = File::options().read(true).write(true).open(PORT);
    let file = file.with_context(|| format!("failed to open `{PORT}`"))?;
    let port = SharedPort::new(file.try_clone()?);
    let mut guest = Guest {
        programs: RunningPrograms::new(port.clone()),
        ticker: Ticker::new(port.clone()),
        port,
    };
    guest.port.send(&GuestReply::Hello);
    let mut lines = BufReader::new(file);
    let mut line = String::new();
    loop {
        match lines.read_line(&mut line) {
            Ok(_) if line.ends_with('\n') => {
                guest.handle(&line);
                line.clear();
            }
            // Nobody has the other end open: the VM has just arrived, or the laboratory is slow.
            // What has come of a line stays in it.
            Ok(_) | Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

struct Guest {
    port: SharedPort,
    programs: RunningPrograms,
    ticker: Ticker,
}

impl Guest {
    fn handle(&mut self, line: &str) {
        // A line that was cut by a migration has no id to answer to; the laboratory's own limit ends its wait.
        let Ok(NumberedRequest { id, request }) = serde_json::from_str(line) else { return };
        let done = match request {
            // Answers by itself, when the program has ended.
            GuestRequest::Run { argv, input } => return self.programs.run(id, argv, input),
            GuestRequest::Start { name, argv, env } => self.programs.start(name, &argv, env),
            GuestRequest::Signal { name, signal } => self.programs.signal(&name, signal),
            GuestRequest::Tick { every_ms } => self.ticker.every(every_ms),
        };
        self.port.answer(id, done.map(|()| String::new()));
    }
}
