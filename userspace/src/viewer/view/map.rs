//! The occupancy map: the pool from its first block to its last, in reading order.
//!
//! With colours a cell of the terminal shows two parts of the pool, the upper and the lower half of
//! a line (`▀` in the upper part's colour on the lower one's). Without, or on a terminal that takes ASCII only, it shows one, as the letter
//! of the state that most of its blocks are in.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::model::Cell;

use super::super::palette::{self, Palette, STATES};
use super::super::pane::Pane;
use super::super::state::Viewer;
use super::super::units;
use super::section::{Heading, section};

pub(super) fn draw(frame: &mut Frame, area: Rect, viewer: &Viewer) {
    let cells = &viewer.snapshot.cells;
    let palette = viewer.palette;
    let parts_a_cell = if palette.halves() { 2 } else { 1 };
    let body = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    let parts = usize::from(body.width) * usize::from(body.height) * parts_a_cell;
    let size = cells.len().div_ceil(parts.max(1)).max(1);
    let bytes = (size as u64).saturating_mul(u64::from(viewer.snapshot.server.page_size));
    let unit = if palette.halves() { "half cell" } else { "character" };
    let blocks = if size == 1 { "block" } else { "blocks" };
    let note =
        format!("a {unit} is {} {blocks}, {}", units::count(size as u64), units::bytes(bytes));
    let inner =
        section(frame, area, Heading::of_pane("Pool map", &note, Pane::Pool, viewer), palette);
    if cells.is_empty() {
        frame.render_widget("no map in this snapshot", inner);
    } else if palette.halves() {
        draw_halves(frame.buffer_mut(), inner, cells, size, palette);
    } else {
        draw_letters(frame.buffer_mut(), inner, cells, size, palette);
    }
}

/// Two parts a cell. A line of the terminal holds two lines of parts.
fn draw_halves(buffer: &mut Buffer, area: Rect, cells: &[Cell], size: usize, palette: Palette) {
    let width = usize::from(area.width);
    for (y, rows) in area.rows().zip(cells.chunks(size * width * 2)) {
        let (upper, lower) = rows.split_at(rows.len().min(size * width));
        let mut lower = lower.chunks(size);
        for (at, part) in y.columns().zip(upper.chunks(size)) {
            let mut style = Style::new().fg(palette.mix(&counts(part)));
            if let Some(below) = lower.next() {
                style = style.bg(palette.mix(&counts(below)));
            }
            buffer[(at.x, at.y)].set_char('▀').set_style(style);
        }
    }
}

fn draw_letters(buffer: &mut Buffer, area: Rect, cells: &[Cell], size: usize, palette: Palette) {
    let places = area.rows().flat_map(|row| row.columns().collect::<Vec<_>>());
    for (at, part) in places.zip(cells.chunks(size)) {
        let counts = counts(part);
        let most = palette::ALL.into_iter().max_by_key(|state| counts[palette::index(*state)]);
        let style = most.map_or(Style::new(), |state| palette.state(state));
        buffer[(at.x, at.y)].set_char(most.map_or(' ', palette::letter)).set_style(style);
    }
}

fn counts(part: &[Cell]) -> [u32; STATES] {
    let mut counts = [0_u32; STATES];
    for cell in part {
        let count = &mut counts[palette::index(*cell)];
        *count = count.saturating_add(1);
    }
    counts
}
