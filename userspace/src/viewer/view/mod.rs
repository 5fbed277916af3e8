//! Draws the state. Nothing here changes it, waits or computes anything that outlives the frame.

mod ascii;
mod footer;
mod header;
mod health;
mod help;
mod map;
mod pool;
mod probes;
mod section;
mod small;
mod tables;
mod trace;

#[cfg(test)]
mod tests;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};

use super::pane::Pane;
use super::state::Viewer;

/// Below this, only the main figures are shown.
const SMALLEST: (u16, u16) = (76, 20);

/// From this on, all panes stand side by side.
const WIDE: (u16, u16) = (150, 40);

/// Draws everything.
pub(super) fn draw(frame: &mut Frame, viewer: &Viewer) {
    draw_all(frame, viewer);
    if viewer.palette.ascii() {
        ascii::replace(frame.buffer_mut());
    }
}

fn draw_all(frame: &mut Frame, viewer: &Viewer) {
    let area = frame.area();
    if !fits(area, SMALLEST) {
        return small::draw(frame, area, viewer, SMALLEST);
    }
    let heights = [header::height(viewer), 0, 1];
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(heights[0]),
        Constraint::Fill(1),
        Constraint::Length(heights[2]),
    ])
    .areas(inset(area));
    header::draw(frame, head, viewer);
    if fits(area, WIDE) && !viewer.zoomed {
        all_panes(frame, body, viewer);
    } else {
        one_pane(frame, body, viewer);
    }
    footer::draw(frame, foot, viewer);
    if viewer.help {
        help::draw(frame, area, viewer);
    }
}

fn one_pane(frame: &mut Frame, area: Rect, viewer: &Viewer) {
    match viewer.pane {
        Pane::Pool => {
            let [map, figures] =
                Layout::vertical([Constraint::Fill(1), Constraint::Length(pool::HEIGHT)])
                    .areas(area);
            map::draw(frame, map, viewer);
            pool::draw_beside(frame, figures, viewer);
        }
        Pane::Tables => tables::draw(frame, area, viewer),
        Pane::Probes => probes::draw(frame, area, viewer),
        Pane::Trace => trace::draw(frame, area, viewer),
    }
}

fn all_panes(frame: &mut Frame, area: Rect, viewer: &Viewer) {
    let [left, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(78)]).spacing(2).areas(area);
    let [map, tables] =
        Layout::vertical([Constraint::Fill(3), Constraint::Fill(2)]).spacing(1).areas(left);
    map::draw(frame, map, viewer);
    tables::draw(frame, tables, viewer);
    let [figures, probes, trace] = Layout::vertical([
        Constraint::Length(pool::HEIGHT),
        Constraint::Length(probes::height(viewer)),
        Constraint::Fill(1),
    ])
    .spacing(1)
    .areas(right);
    pool::draw_beside(frame, figures, viewer);
    probes::draw(frame, probes, viewer);
    trace::draw(frame, trace, viewer);
}

const fn fits(area: Rect, (width, height): (u16, u16)) -> bool {
    area.width >= width && area.height >= height
}

/// The area without its first and last column.
const fn inset(area: Rect) -> Rect {
    Rect { x: area.x + 1, width: area.width - 2, ..area }
}
