//! What the keys do. One table serves the keyboard and the help overlay, so they cannot disagree.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::pane::Pane;

/// The action of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    Help,
    Back,
    Pause,
    Show(Pane),
    NextPane,
    PreviousPane,
    Zoom,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Sort,
    ReverseSort,
    Filter,
    FasterLink,
    SlowerLink,
    FasterRefresh,
    SlowerRefresh,
    Trace,
    Walk,
}

/// A line of the help overlay and the keys that it describes.
pub(super) struct Binding {
    /// The keys as the overlay names them.
    pub(super) shown: &'static str,
    /// What they do, for people.
    pub(super) help: &'static str,
    keys: &'static [(KeyCode, Action)],
}

use KeyCode::{BackTab, Char, Down, End, Enter, Esc, Home, Left, PageDown, PageUp, Right, Tab, Up};

/// Every binding, in the order of the overlay.
pub(super) const BINDINGS: &[Binding] = &[
    Binding {
        shown: "Tab  1-4  ←→",
        help: "go to a pane: pool, tables, probes, trace",
        keys: &[
            (Tab, Action::NextPane),
            (Right, Action::NextPane),
            (Char('l'), Action::NextPane),
            (BackTab, Action::PreviousPane),
            (Left, Action::PreviousPane),
            (Char('h'), Action::PreviousPane),
            (Char('1'), Action::Show(Pane::Pool)),
            (Char('2'), Action::Show(Pane::Tables)),
            (Char('3'), Action::Show(Pane::Probes)),
            (Char('4'), Action::Show(Pane::Trace)),
        ],
    },
    Binding {
        shown: "z  Enter",
        help: "one pane on the whole screen, and back",
        keys: &[(Char('z'), Action::Zoom), (Enter, Action::Zoom)],
    },
    Binding {
        shown: "↑↓  j k",
        help: "scroll",
        keys: &[
            (Up, Action::Up),
            (Char('k'), Action::Up),
            (Down, Action::Down),
            (Char('j'), Action::Down),
        ],
    },
    Binding {
        shown: "PgUp PgDn g G",
        help: "scroll by pages, to the first, to the last",
        keys: &[
            (PageUp, Action::PageUp),
            (PageDown, Action::PageDown),
            (Char('g'), Action::First),
            (Home, Action::First),
            (Char('G'), Action::Last),
            (End, Action::Last),
        ],
    },
    Binding {
        shown: "s  S",
        help: "sort tables by the next column, reverse",
        keys: &[(Char('s'), Action::Sort), (Char('S'), Action::ReverseSort)],
    },
    Binding {
        shown: "/",
        help: "filter tables by name; Esc clears",
        keys: &[(Char('/'), Action::Filter)],
    },
    Binding {
        shown: "+  -",
        help: "faster or slower link for the estimate",
        keys: &[
            (Char('+'), Action::FasterLink),
            (Char('='), Action::FasterLink),
            (Char('-'), Action::SlowerLink),
        ],
    },
    Binding {
        shown: "<  >",
        help: "snapshots less or more often",
        keys: &[(Char('<'), Action::SlowerRefresh), (Char('>'), Action::FasterRefresh)],
    },
    Binding {
        shown: "p  Space",
        help: "pause the display and go on",
        keys: &[(Char('p'), Action::Pause), (Char(' '), Action::Pause)],
    },
    Binding {
        shown: "t",
        help: "tracing on or off (costs time in the server)",
        keys: &[(Char('t'), Action::Trace)],
    },
    Binding {
        shown: "w",
        help: "frames in the trace on or off (page-table walk)",
        keys: &[(Char('w'), Action::Walk)],
    },
    Binding {
        shown: "?  Esc",
        help: "this help, and away with it",
        keys: &[(Char('?'), Action::Help), (KeyCode::F(1), Action::Help), (Esc, Action::Back)],
    },
    Binding { shown: "Ctrl-Z", help: "back to the shell; `fg` goes on", keys: &[] },
    Binding { shown: "q  Ctrl-C", help: "quit", keys: &[(Char('q'), Action::Quit)] },
];

/// What the key does outside of the filter line; `None` for a key without meaning.
pub(super) fn action(key: KeyEvent) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
        return is_interrupt(key).then_some(Action::Quit);
    }
    let bound = BINDINGS.iter().flat_map(|binding| binding.keys);
    bound.into_iter().find(|(code, _)| *code == key.code).map(|(_, action)| *action)
}

/// Ctrl-C, which quits wherever it is typed.
pub(super) fn is_interrupt(key: KeyEvent) -> bool {
    key.code == Char('c') && key.modifiers == KeyModifiers::CONTROL
}

/// Ctrl-Z, likewise: raw mode leaves its action to us.
pub(super) fn is_suspend(key: KeyEvent) -> bool {
    key.code == Char('z')
        && key.modifiers == KeyModifiers::CONTROL
        && key.kind != KeyEventKind::Release
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_has_two_meanings() {
        let all: Vec<_> = BINDINGS.iter().flat_map(|b| b.keys).map(|(code, _)| *code).collect();
        for (i, code) in all.iter().enumerate() {
            assert!(!all[..i].contains(code), "{code:?} is bound twice");
        }
    }

    #[test]
    fn control_and_release_do_nothing_else() {
        let control = |c| KeyEvent::new(Char(c), KeyModifiers::CONTROL);
        assert_eq!(action(control('c')), Some(Action::Quit));
        assert_eq!(action(control('q')), None);
        let release = KeyEvent::new_with_kind(Char('q'), KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(action(release), None);
        assert_eq!(action(KeyEvent::new(Char('G'), KeyModifiers::SHIFT)), Some(Action::Last));
    }
}
