//! The terminal while the viewer has it, given back on every way out: return, error, drop of the
//! future, and panic on whatever thread.
//!
//! Nothing here waits for a terminal that does not take its bytes: frames go through the outlet, and a
//! terminal that has not taken the last one gets no new one.

use std::io::{self, IsTerminal as _, Write};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use crossterm::cursor::Show;
use crossterm::execute;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::backend::CrosstermBackend;
use ratatui::{Frame, Terminal};
use rustix::termios::{QueueSelector, tcflush};

use super::logs;

/// Whether the terminal is ours at this moment. One for the process, as the terminal is.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// How long a terminal may take for what gives it back; then what it has not taken is thrown away.
const TAKES: Duration = Duration::from_millis(300);

/// The terminal in raw mode on its alternate screen; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Buffer>>,
    buffer: Buffer,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drawn {
    /// It is on its way.
    Yes,
    /// The terminal has not taken the last one; this one was not made.
    Busy,
    /// A panic elsewhere has given the terminal back already.
    GivenBack,
}

/// The bytes of a frame until it is whole.
#[derive(Clone, Debug, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn take() -> io::Result<Self> {
        // Nothing is written to what is no terminal, or not ours.
        if !io::stdout().is_terminal() {
            return Err(io::Error::other("standard output is no terminal"));
        }
        restore_on_panic();
        enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        logs::hold();
        let mut buffer = Buffer::default();
        let taken = execute!(buffer, EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(buffer.clone())));
        match taken {
            Ok(terminal) => Ok(Self { terminal, buffer }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Draws one frame, if the terminal has taken the one before.
    pub(super) fn draw(&mut self, view: impl FnOnce(&mut Frame)) -> io::Result<Drawn> {
        if !TAKEN.load(Ordering::SeqCst) {
            return Ok(Drawn::GivenBack);
        }
        let out = outlet::stdout();
        if !out.is_drained() {
            return Ok(Drawn::Busy);
        }
        out.check()?;
        self.terminal.draw(view)?;
        out.push(&self.buffer.take());
        Ok(Drawn::Yes)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Restores the terminal once, however often it is called.
pub(super) fn give_back() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let out = outlet::stdout();
    let mut last = Vec::new();
    // each is tried whatever becomes of the others; a terminal that is gone needs none of them
    let _ = execute!(last, LeaveAlternateScreen, Show);
    out.push(&last);
    if !out.drain_until(Instant::now() + TAKES) {
        let _ = tcflush(rustix::stdio::stdout(), QueueSelector::OFlush);
        out.drain_until(Instant::now() + TAKES / 2);
    }
    let _ = disable_raw_mode();
    logs::release();
}

/// Makes a panic of any thread give the terminal back before its message is printed.
fn restore_on_panic() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            give_back();
            report(info);
        }));
    });
}
