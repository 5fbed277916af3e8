//! `lab shell`: the terminal of the user on a shell in the guest, as over a serial line.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use lab::steps::say;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Ctrl-], as telnet has it: everything else is the guest's.
const LEAVE: u8 = 0x1d;

/// Joins this terminal to the guest's behind `socket` until Ctrl-] or the end of QEMU.
///
/// # Errors
/// Nobody listens at the socket, or this is no terminal.
pub(crate) fn join(socket: &Path) -> Result<()> {
    let mut here = io::stdin();
    ensure!(here.is_terminal(), "`lab shell` joins a terminal to the guest, and this is none");
    let mut guest = UnixStream::connect(socket).with_context(|| {
        format!("no guest behind `{}`; `lab up` tells where it is", socket.display())
    })?;
    say("Ctrl-] ends it; the viewer is `poolferry trace`.");
    let size = tcgetwinsize(&here)?;
    let raw = Raw::set()?;
    // The guest does not hear of the size by itself, and a viewer wants it.
    let (rows, columns) = (size.ws_row, size.ws_col);
    guest.write_all(format!("\nstty rows {rows} columns {columns}; clear\n").as_bytes())?;

    let mut from = guest.try_clone()?;
    let printer = thread::spawn(move || io::copy(&mut from, &mut Unbuffered(io::stdout())));
    let mut typed = [0; 256];
    while !printer.is_finished() {
        let count = here.read(&mut typed)?;
        let end = typed[..count].iter().position(|byte| *byte == LEAVE);
        guest.write_all(&typed[..end.unwrap_or(count)])?;
        if end.is_some() || count == 0 {
            break;
        }
    }
    // QEMU may have ended first.
    let _ = guest.shutdown(Shutdown::Both);
    let _ = printer.join();
    drop(raw);
    say("");
    Ok(())
}

/// The terminal passes each key on at once; as it was when this is dropped.
struct Raw(Termios);

impl Raw {
    fn set() -> Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Half a line is to be seen too.
struct Unbuffered(io::Stdout);

impl io::Write for Unbuffered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(bytes)?;
        self.0.flush()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
