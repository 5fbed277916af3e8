//! What a terminal too small for the panes still shows: the main figures, one a line.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Text};

use super::super::state::Viewer;
use super::super::units;
use super::health::Health;

pub(super) fn draw(frame: &mut Frame, area: Rect, viewer: &Viewer, smallest: (u16, u16)) {
    let palette = viewer.palette;
    let totals = &viewer.snapshot.totals;
    let dirty = totals.dirty.saturating_mul(u64::from(viewer.snapshot.server.page_size));
    let lines = vec![
        Line::styled("Poolferry", palette.accent()),
        Line::raw(format!("pool     {:>10}", units::bytes(totals.pool_bytes))),
        Line::raw(format!("eligible {:>10}", units::bytes(totals.eligible_bytes))),
        Line::raw(format!("dirty    {:>10}", units::bytes(dirty))),
        Health::of(&viewer.snapshot).line(viewer.snapshot.audit.scans, palette),
        Line::styled(
            format!("{}x{} is too small: the panes", area.width, area.height),
            palette.dim(),
        ),
        Line::styled(format!("need {}x{} (q quits)", smallest.0, smallest.1), palette.dim()),
    ];
    frame.render_widget(Text::from(lines), area);
}
