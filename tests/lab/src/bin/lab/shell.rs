//! `lab shell`: the terminal of the user on a shell in the guest, as over a serial line.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use lab::steps::print_line;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Ctrl-], as telnet has it: everything else is the guest's.
const LEAVE: u8 = 0x1d;

/// Joins this terminal to the guest's behind `socket` until Ctrl-] or the end of QEMU.
///
/// # Errors
/// Nobody listens at the socket, or this is no terminal.
pub(crate) fn join(socket: &Path) -> Result<()> {
    let here = io::stdin();
    ensure!(here.is_terminal(), "`lab shell` joins a terminal to the guest, and this is none");
    let mut guest = UnixStream::connect(socket).with_context(|| {
        format!("no guest behind `{}`; `lab up` prints where it is", socket.display())
    })?;
    print_line("Ctrl-] ends it; the viewer is `poolferry trace`.");
    let size = tcgetwinsize(&here)?;
    let raw = Raw::set()?;
    // The guest does not get the size by itself, and a viewer wants it.
    let (rows, columns) = (size.ws_row, size.ws_col);
    guest.write_all(format!("\nstty rows {rows} columns {columns}; clear\n").as_bytes())?;

    let mut out = io::stdout();
    let mut bytes = [0; 4096];
    loop {
        let (typed, printed) = either(&here, &guest)?;
        if printed {
            let count = guest.read(&mut bytes)?;
            if count == 0 {
                break;
            }
            out.write_all(&bytes[..count])?;
            out.flush()?; // half a line is to be seen too
        }
        if typed {
            // Past the buffer of `Stdin`, which would keep what `poll` cannot see.
            let count = rustix::io::read(&here, &mut bytes)?;
            let end = bytes[..count].iter().position(|byte| *byte == LEAVE);
            guest.write_all(&bytes[..end.unwrap_or(count)])?;
            if end.is_some() || count == 0 {
                break;
            }
        }
    }
    drop(raw);
    print_line("");
    Ok(())
}

/// Waits until there is something to read, or an end, at one of them or at both.
fn either(here: &impl AsFd, guest: &impl AsFd) -> Result<(bool, bool)> {
    let mut both = [PollFd::new(here, PollFlags::IN), PollFd::new(guest, PollFlags::IN)];
    retry_on_intr(|| poll(&mut both, None))?;
    let [here, guest] = both.map(|one| !one.revents().is_empty());
    Ok((here, guest))
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
