//! The newest trace records, newest first.

use std::collections::HashMap;

use foreign::Text;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row, Table};

use crate::model::TraceEvent;

use super::super::pane::Pane;
use super::super::state::Viewer;
use super::super::units;
use super::section::{Heading, section};

pub(super) fn draw(frame: &mut Frame, area: Rect, viewer: &Viewer) {
    let palette = viewer.palette;
    let events = &viewer.snapshot.events;
    let note = match (viewer.tracing, viewer.walking) {
        (true, true) => "on, with frames (t w)",
        (true, false) => "on (t w)",
        (false, _) => "off (t)",
    };
    let inner = section(frame, area, Heading::of_pane("Trace", note, Pane::Trace, viewer), palette);
    if events.is_empty() {
        let text = if viewer.tracing {
            "nothing has happened yet"
        } else {
            "tracing is off; t switches it on and costs time in the server"
        };
        return frame.render_widget(Line::styled(text, palette.dim()), inner);
    }
    let names: HashMap<u32, &Text> =
        viewer.snapshot.tables.iter().map(|table| (table.space, &table.name)).collect();
    let lines = usize::from(inner.height).saturating_sub(1);
    let newest_first = events.iter().rev().skip(viewer.cursor(Pane::Trace)).take(lines);
    let rows = newest_first.map(|event| row(event, &names, palette.dim()));
    let widths = [
        Constraint::Length(15),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Fill(1),
    ];
    let right = |title| Line::from(title).right_aligned();
    let titles = Row::new([
        right("seconds"),
        Line::from("probe"),
        right("thread"),
        right("block"),
        right("page"),
        Line::from("table"),
    ])
    .style(palette.dim());
    frame.render_widget(Table::new(rows, widths).header(titles).column_spacing(1), inner);
}

fn row(event: &TraceEvent, names: &HashMap<u32, &Text>, dim: Style) -> Row<'static> {
    let right = |text: String| Cell::from(Line::from(text).right_aligned());
    let time =
        format!("{}.{:06}", event.time_ns / 1_000_000_000, event.time_ns % 1_000_000_000 / 1_000);
    let time = Cell::from(Line::styled(time, dim).right_aligned());
    let (probe, thread) = (Cell::from(event.probe), right(event.tid.to_string()));
    if let Some(latency) = event.latency_ns {
        // a query or a commit: no block, no page
        let took = format!("took {}", units::nanoseconds(latency));
        return Row::new([time, probe, thread, right("-".into()), right("-".into()), took.into()]);
    }
    let named = |space| {
        let name = names.get(&space);
        name.map_or_else(|| format!("space {space}"), |name| name.to_string())
    };
    let mut of = event.space.map_or_else(|| "(no page)".to_owned(), named);
    if let Some(frame) = event.pfn {
        of.push_str(&format!("  frame {frame:#x}"));
    }
    Row::new([
        time,
        probe,
        thread,
        right(units::count(event.block.into())),
        right(event.page.map_or_else(|| "-".to_owned(), |page| units::count(page.into()))),
        of.into(),
    ])
}
