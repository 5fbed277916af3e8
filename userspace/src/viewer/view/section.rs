//! A part of the screen: its rule, title and note.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders};

use crate::viewer::palette::Palette;
use crate::viewer::pane::Pane;
use crate::viewer::state::Viewer;

/// Draws the rule with the title of a part; returns what is left for the part.
pub(super) fn section(frame: &mut Frame, area: Rect, style: Heading<'_>, palette: Palette) -> Rect {
    let title = if style.focused { palette.accent() } else { palette.strong() };
    // the title lies on the rule and would take over its dimness
    let title = title.remove_modifier(Modifier::DIM);
    let block = Block::new()
        .borders(Borders::TOP)
        .border_style(palette.dim())
        .title_top(Line::styled(format!("{} ", style.title), title))
        .title_top(Line::styled(format!(" {}", style.note), palette.dim()).right_aligned());
    let inner = block.inner(area);
    frame.render_widget(block, area);
    inner
}

/// How a part is headed.
pub(super) struct Heading<'a> {
    pub(super) title: &'a str,
    /// Explanation at the right end of the rule.
    pub(super) note: &'a str,
    /// Whether keys act on it.
    pub(super) focused: bool,
}

impl<'a> Heading<'a> {
    /// The heading of a pane that keys can act on.
    pub(super) fn of_pane(title: &'a str, note: &'a str, pane: Pane, viewer: &Viewer) -> Self {
        Self { title, note, focused: viewer.pane == pane }
    }

    /// A heading that never has the focus.
    pub(super) const fn plain(title: &'a str, note: &'a str) -> Self {
        Self { title, note, focused: false }
    }
}

/// First of `height` lines such that the marked one stands in the middle where it can.
pub(super) fn first_line(marked: usize, lines: usize, height: usize) -> usize {
    marked.saturating_sub(height / 2).min(lines.saturating_sub(height))
}
