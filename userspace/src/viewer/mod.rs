//! The live viewer: one snapshot after another on a terminal.
//!
//! Data and drawing are apart. [`run`] is the driver: it owns the terminal and waits. It feeds a
//! state machine (`state`) with closed inputs, and pure functions (`view`) draw that state. Nobody
//! holds a lock of the collector: a snapshot is immutable and shared.
//!
//! ```text
//! snapshots ─┐
//! keys ─────┼─> run ─> Viewer::apply ─> Outcome ─> commands
//! ticks ────┘             │
//!                         └─> view::draw ─> terminal
//! ```

mod history;
mod keys;
mod link_rate;
mod logs;
mod options;
mod palette;
mod pane;
mod rows;
mod state;
mod strokes;
mod suspend;
mod terminal;
pub(crate) mod units;
mod view;

#[cfg(test)]
#[path = "../../examples/viewer_demo/made_up.rs"]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "made-up figures")]
pub(crate) mod made_up;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossterm::event::{Event as TerminalEvent, EventStream};
use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::model::Snapshot;

pub use link_rate::{BadLinkRate, LinkRate};
pub use logs::LogSink;
pub use options::{Command, ViewerOptions};
pub use palette::Colors;
use state::{Input, Outcome, Viewer};
use suspend::{Wish, Wishes};
use terminal::{Drawn, Screen};

#[cfg(test)]
use crate::model;

/// Why the viewer had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ViewerError {
    /// No terminal, or one that cannot do what is needed.
    #[error("failed to take the terminal")]
    Take(#[source] io::Error),
    /// The terminal went away while drawing.
    #[error("failed to draw on the terminal")]
    Draw(#[source] io::Error),
    /// The terminal went away while reading keys.
    #[error("failed to read keys from the terminal")]
    Keys(#[source] io::Error),
    /// Another part of the program panicked; its message is on standard error.
    #[error("another part of the program panicked while the viewer was open")]
    Panicked,
}

impl ViewerError {
    /// The remedy, where the operator has one.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Take(_) => Some("without a terminal use `--format jsonl` or `--format text`"),
            Self::Draw(_) | Self::Keys(_) | Self::Panicked => None,
        }
    }
}

/// Gives the terminal back if the viewer has it, in well under a second; for a way out on which the viewer's future is
/// not dropped.
pub fn give_back() {
    terminal::give_back();
}

/// Why a terminal cannot show the viewer at all, where that is known beforehand.
#[must_use]
pub fn refused() -> Option<&'static str> {
    foreign::is_dumb().then_some("the terminal is a dumb one (TERM)")
}

/// How often the age of the snapshot is drawn when nothing else happens.
const TICK: Duration = Duration::from_millis(500);

/// Shows snapshots until the user quits.
///
/// Ctrl-Z and SIGTSTP give the terminal back and stop the process; when it goes on, the terminal is taken again and
/// all of it drawn.
///
/// A terminal that does not take its bytes gets no new frame, and delays nothing. It is restored whenever the future
/// ends, also when it is dropped. When `snapshots` is closed, the last snapshot stays on the screen, marked as such, until
/// the user quits. Commands that
/// nobody receives are dropped.
///
/// # Errors
/// [`ViewerError`] when the terminal cannot be used (any longer), or when another thread panicked.
pub async fn run(
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    options: ViewerOptions,
    commands: mpsc::UnboundedSender<Command>,
) -> Result<(), ViewerError> {
    let mut screen = Screen::take().map_err(ViewerError::Take)?;
    let mut wishes = Wishes::watch().map_err(ViewerError::Take)?;
    let mut keyboard = EventStream::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let first = Arc::clone(&snapshots.borrow_and_update());
    let mut viewer = Viewer::new(&options, first, Instant::now());
    let mut open = true;
    loop {
        let drawn = screen.draw(|frame| view::draw(frame, &viewer)).map_err(ViewerError::Draw)?;
        if drawn == Drawn::GivenBack {
            return Err(ViewerError::Panicked);
        }
        let input = tokio::select! {
            changed = snapshots.changed(), if open => if changed.is_ok() {
                Input::Snapshot(Arc::clone(&snapshots.borrow_and_update()))
            } else {
                open = false;
                Input::Ended
            },
            event = keyboard.next() => match event {
                Some(Ok(TerminalEvent::Key(key))) if keys::is_suspend(key) => {
                    suspend::request();
                    Input::Redraw
                }
                Some(Ok(TerminalEvent::Key(key))) => Input::Key(key),
                Some(Ok(_)) => Input::Redraw,
                Some(Err(error)) => return Err(ViewerError::Keys(error)),
                None => return Ok(()),
            },
            () = outlet::stdout().drained(), if drawn == Drawn::Busy => Input::Redraw,
            wish = wishes.next() => {
                drop(screen);
                if wish == Wish::Stop {
                    wishes.stop();
                }
                screen = Screen::take().map_err(ViewerError::Take)?;
                Input::Redraw
            }
            _ = ticks.tick() => Input::Redraw,
        };
        match viewer.apply(input, Instant::now()) {
            Outcome::Continue => {}
            Outcome::Quit => return Ok(()),
            Outcome::Send(command) => {
                let _ = commands.send(command);
            }
        }
    }
}
