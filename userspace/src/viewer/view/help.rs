//! The help overlay, made of the same table that the keyboard uses.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear, Padding, Paragraph};

use super::super::keys::BINDINGS;
use super::super::state::Viewer;

const WIDTH: u16 = 68;

pub(super) fn draw(frame: &mut Frame, area: Rect, viewer: &Viewer) {
    let palette = viewer.palette;
    let lines: Vec<Line> = BINDINGS
        .iter()
        .map(|binding| {
            Line::from(vec![
                Span::styled(format!("{:<15}", binding.shown), palette.accent()),
                Span::raw(binding.help),
            ])
        })
        .collect();
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2);
    let over = area.centered(Constraint::Length(WIDTH), Constraint::Length(height));
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(palette.dim())
        .padding(Padding::horizontal(1))
        .title(Line::styled(" Keys ", palette.accent()));
    frame.render_widget(Clear, over);
    frame.render_widget(Paragraph::new(lines).block(block), over);
}
