//! The viewer as a state machine: inputs in, an outcome out; it draws nothing and waits for nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::model::Snapshot;

use super::history::History;
use super::keys::{self, Action};
use super::link_rate::LinkRate;
use super::options::{Command, ViewerOptions};
use super::palette::Palette;
use super::pane::Pane;
use super::rows::{NameFilter, Sort};

/// Everything that can happen to the viewer.
#[derive(Debug)]
pub(super) enum Input {
    /// A new snapshot.
    Snapshot(Arc<Snapshot>),
    /// No snapshot will come any more.
    Ended,
    /// A key.
    Key(KeyEvent),
    /// The terminal has another size, or time has passed: what is shown must be drawn again.
    Redraw,
}

/// What the driver is to do after an input, besides drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Continue,
    Quit,
    Send(Command),
}

/// How current the snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Liveness {
    /// It is as new as can be expected.
    Live,
    /// The user has stopped the display.
    Paused,
    /// The next one is overdue.
    Late,
    /// There will be no other.
    Ended,
}

/// Times between snapshots that the keys step through.
const REFRESH: [Duration; 7] = [
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// Lines that PageUp and PageDown move by.
const PAGE: usize = 10;

/// What the viewer knows and what the user has chosen.
#[derive(Debug)]
pub(super) struct Viewer {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) history: History,
    pub(super) palette: Palette,
    pub(super) pane: Pane,
    pub(super) zoomed: bool,
    pub(super) help: bool,
    pub(super) filter: NameFilter,
    pub(super) sort: Sort,
    /// Indices of the tables to show, in order.
    pub(super) tables: Vec<usize>,
    pub(super) link_rate: LinkRate,
    pub(super) refresh: Duration,
    pub(super) tracing: bool,
    pub(super) walking: bool,
    /// First or marked line of each pane.
    cursors: [usize; Pane::ALL.len()],
    /// `Some` while paused: the newest snapshot that came meanwhile, if any did.
    paused: Option<Option<Arc<Snapshot>>>,
    ended: bool,
    arrived: Instant,
    now: Instant,
}

impl Viewer {
    pub(super) fn new(options: &ViewerOptions, snapshot: Arc<Snapshot>, now: Instant) -> Self {
        let mut viewer = Self {
            snapshot: Arc::clone(&snapshot),
            history: History::default(),
            palette: Palette::new(options.colors, options.charset),
            pane: Pane::Pool,
            zoomed: false,
            help: false,
            filter: NameFilter::default(),
            sort: Sort::default(),
            tables: Vec::new(),
            link_rate: options.link_rate,
            refresh: options.refresh,
            tracing: options.tracing,
            walking: options.walking,
            cursors: [0; Pane::ALL.len()],
            paused: None,
            ended: false,
            arrived: now,
            now,
        };
        viewer.show(snapshot);
        viewer
    }

    /// Takes one input. `now` is the time of the input.
    pub(super) fn apply(&mut self, input: Input, now: Instant) -> Outcome {
        self.now = now;
        match input {
            Input::Snapshot(snapshot) => {
                self.arrived = now;
                match &mut self.paused {
                    Some(pending) => *pending = Some(snapshot),
                    None => self.show(snapshot),
                }
            }
            Input::Ended => self.ended = true,
            Input::Redraw => {}
            Input::Key(key) if key.kind == KeyEventKind::Release => {}
            Input::Key(key) if keys::is_interrupt(key) => return Outcome::Quit,
            Input::Key(key) if self.filter.editing => self.edit_filter(key),
            Input::Key(key) => {
                if let Some(action) = keys::action(key) {
                    return self.act(action);
                }
            }
        }
        Outcome::Continue
    }

    /// Time since the newest snapshot arrived, shown or not.
    pub(super) fn age(&self) -> Duration {
        self.now.saturating_duration_since(self.arrived)
    }

    pub(super) fn liveness(&self) -> Liveness {
        if self.ended {
            Liveness::Ended
        } else if self.paused.is_some() {
            Liveness::Paused
        } else if self.age() > self.refresh * 3 + Duration::from_secs(1) {
            Liveness::Late
        } else {
            Liveness::Live
        }
    }

    /// First or marked line of a pane; always below its number of lines, or 0.
    pub(super) fn cursor(&self, pane: Pane) -> usize {
        self.cursors[pane as usize].min(self.lines(pane).saturating_sub(1))
    }

    fn act(&mut self, action: Action) -> Outcome {
        match action {
            Action::Quit => return Outcome::Quit,
            Action::Help => self.help = !self.help,
            Action::Back => self.back(),
            Action::Pause => self.pause(),
            Action::Show(pane) => self.pane = pane,
            Action::NextPane => self.pane = self.pane.moved(1),
            Action::PreviousPane => self.pane = self.pane.moved(Pane::ALL.len() - 1),
            Action::Zoom => self.zoomed = !self.zoomed,
            Action::Up => self.scroll(|line, _| line.saturating_sub(1)),
            Action::Down => self.scroll(|line, _| line + 1),
            Action::PageUp => self.scroll(|line, _| line.saturating_sub(PAGE)),
            Action::PageDown => self.scroll(|line, _| line + PAGE),
            Action::First => self.scroll(|_, _| 0),
            Action::Last => self.scroll(|_, last| last),
            Action::Sort => self.change_sort(|sort| sort.next()),
            Action::ReverseSort => self.change_sort(|sort| sort.reversed()),
            Action::Filter => {
                self.pane = Pane::Tables;
                self.filter.editing = true;
            }
            Action::FasterLink => self.link_rate = self.link_rate.faster(),
            Action::SlowerLink => self.link_rate = self.link_rate.slower(),
            Action::FasterRefresh => {
                return self.refresh(REFRESH.iter().rev().find(|t| **t < self.refresh));
            }
            Action::SlowerRefresh => {
                return self.refresh(REFRESH.iter().find(|t| **t > self.refresh));
            }
            Action::Trace => {
                self.tracing = !self.tracing;
                return Outcome::Send(Command::Trace(self.tracing));
            }
            Action::Walk => {
                self.walking = !self.walking;
                return Outcome::Send(Command::Walk(self.walking));
            }
        }
        Outcome::Continue
    }

    fn show(&mut self, snapshot: Arc<Snapshot>) {
        self.history.push(&snapshot);
        self.snapshot = snapshot;
        self.arrange_tables();
    }

    /// Leaves what lies on top: the help, then the filter, then the zoom.
    fn back(&mut self) {
        if self.help {
            self.help = false;
        } else if !self.filter.text.is_empty() {
            self.filter.text.clear();
            self.arrange_tables();
        } else {
            self.zoomed = false;
        }
    }

    fn pause(&mut self) {
        match self.paused.take() {
            Some(Some(newest)) => self.show(newest),
            Some(None) => {}
            None => self.paused = Some(None),
        }
    }

    fn scroll(&mut self, to: impl Fn(usize, usize) -> usize) {
        let last = self.lines(self.pane).saturating_sub(1);
        self.cursors[self.pane as usize] = to(self.cursor(self.pane), last).min(last);
    }

    fn lines(&self, pane: Pane) -> usize {
        match pane {
            Pane::Pool => 0,
            Pane::Tables => self.tables.len(),
            Pane::Probes => self.snapshot.probes.len(),
            Pane::Trace => self.snapshot.events.len(),
        }
    }

    fn change_sort(&mut self, change: impl Fn(Sort) -> Sort) {
        self.sort = change(self.sort);
        self.cursors[Pane::Tables as usize] = 0;
        self.arrange_tables();
    }

    fn refresh(&mut self, step: Option<&Duration>) -> Outcome {
        let Some(step) = step else { return Outcome::Continue };
        self.refresh = *step;
        Outcome::Send(Command::Refresh(*step))
    }

    fn edit_filter(&mut self, key: KeyEvent) {
        match key.code {
            KeyCode::Enter => self.filter.editing = false,
            KeyCode::Esc => self.filter = NameFilter::default(),
            KeyCode::Backspace => drop(self.filter.text.pop()),
            KeyCode::Char('u') if key.modifiers == KeyModifiers::CONTROL => {
                self.filter.text.clear()
            }
            KeyCode::Char(c) if !key.modifiers.contains(KeyModifiers::CONTROL) => {
                self.filter.push(c)
            }
            _ => return,
        }
        self.cursors[Pane::Tables as usize] = 0;
        self.arrange_tables();
    }

    fn arrange_tables(&mut self) {
        self.tables = self.sort.arrange(&self.snapshot.tables, &self.filter);
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
