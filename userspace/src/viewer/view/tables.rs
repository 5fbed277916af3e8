//! Tables by what they have in the pool.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Row, Table, TableState};

use crate::model::TableRow;

use super::super::palette::Palette;
use super::super::pane::Pane;
use super::super::rows::SortKey;
use super::super::state::Viewer;
use super::super::units;
use super::section::{Heading, first_line, section};

const COLUMNS: [(SortKey, &str); 5] = [
    (SortKey::Name, "table"),
    (SortKey::Resident, "resident"),
    (SortKey::Dirty, "dirty"),
    (SortKey::Eligible, "eligible"),
    (SortKey::File, "file"),
];

pub(super) fn draw(frame: &mut Frame, area: Rect, viewer: &Viewer) {
    let palette = viewer.palette;
    let inner = section(
        frame,
        area,
        Heading::of_pane("Tables", &note(viewer), Pane::Tables, viewer),
        palette,
    );
    if viewer.tables.is_empty() {
        let text = if viewer.snapshot.tables.is_empty() {
            "no page of any table is resident"
        } else {
            "no table's name has this in it; Esc clears the filter"
        };
        return frame.render_widget(Line::styled(text, palette.dim()), inner);
    }
    let lines = usize::from(inner.height).saturating_sub(1);
    let marked = viewer.cursor(Pane::Tables);
    let first = first_line(marked, viewer.tables.len(), lines);
    let rows = viewer.tables[first..].iter().take(lines);
    let rows = rows.map(|index| row(&viewer.snapshot.tables[*index], palette));
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(8),
    ];
    let table = Table::new(rows, widths)
        .header(heading(viewer))
        .column_spacing(1)
        .highlight_symbol(Line::styled("▸ ", palette.accent()))
        .row_highlight_style(palette.strong());
    let mut state =
        TableState::new().with_selected((viewer.pane == Pane::Tables).then(|| marked - first));
    frame.render_stateful_widget(table, inner, &mut state);
}

fn note(viewer: &Viewer) -> String {
    let all = units::count(viewer.snapshot.tables.len() as u64);
    if viewer.filter.text.is_empty() {
        format!("{all} tables")
    } else {
        let shown = units::count(viewer.tables.len() as u64);
        format!("{shown} of {all} tables with `{}`", viewer.filter.text)
    }
}

fn heading(viewer: &Viewer) -> Row<'static> {
    let palette = viewer.palette;
    let cells = COLUMNS.into_iter().map(|(key, title)| {
        let sorted = viewer.sort.key == key;
        // sizes fall by default, names rise
        let rises = (key == SortKey::Name) != viewer.sort.reverse;
        let mark = match (sorted, rises) {
            (true, true) => "▲",
            (true, false) => "▼",
            (false, _) => "",
        };
        let style = if sorted { palette.accent() } else { palette.dim() };
        let line = Line::styled(format!("{title}{mark}"), style);
        Cell::from(if key == SortKey::Name { line } else { line.right_aligned() })
    });
    let cached = Cell::from(Line::styled("in pool", palette.dim()).right_aligned());
    Row::new(cells.chain([cached]))
}

fn row(table: &TableRow, palette: Palette) -> Row<'static> {
    let size = |bytes: u64| {
        let text = Span::raw(if bytes == 0 { "-".to_owned() } else { units::bytes(bytes) });
        let text = if bytes == 0 { text.style(palette.dim()) } else { text };
        Cell::from(Text::from(Line::from(text).right_aligned()))
    };
    let cached = if table.file_bytes == 0 {
        Line::styled("-", palette.dim())
    } else {
        Line::raw(units::percent(units::share(table.resident_bytes, table.file_bytes)))
    };
    Row::new([
        Cell::from(table.name.to_string()),
        size(table.resident_bytes),
        size(table.dirty_bytes),
        size(table.eligible_bytes),
        size(table.file_bytes),
        Cell::from(cached.right_aligned()),
    ])
}
