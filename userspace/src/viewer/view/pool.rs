//! The pool in figures: blocks by state, page traffic, and what a migration would save.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span, Text};

use crate::model::{Cell, Latency, Totals};

use super::super::history::Series;
use super::super::palette::{self, Palette, STATES};
use super::super::state::Viewer;
use super::super::strokes;
use super::super::units;
use super::section::{Heading, section};

/// Lines that [`draw_beside`] takes: blocks and traffic beside each other, migration below.
pub(super) const HEIGHT: u16 = 8 + 3;

/// Columns of the table of states.
const BLOCKS_WIDTH: u16 = 41;

pub(super) fn draw_beside(frame: &mut Frame, area: Rect, viewer: &Viewer) {
    let [upper, lower] =
        Layout::vertical([Constraint::Length(8), Constraint::Length(3)]).areas(area);
    let [left, right] = Layout::horizontal([Constraint::Length(BLOCKS_WIDTH), Constraint::Fill(1)])
        .spacing(2)
        .areas(upper);
    draw_blocks(frame, left, viewer);
    draw_traffic(frame, right, viewer);
    draw_migration(frame, lower, viewer);
}

fn draw_blocks(frame: &mut Frame, area: Rect, viewer: &Viewer) {
    let palette = viewer.palette;
    let inner = section(frame, area, Heading::plain("Blocks", ""), palette);
    let totals = &viewer.snapshot.totals;
    let counts = counts(totals);
    let blocks = counts.iter().copied().fold(0, u64::saturating_add);
    let page = u64::from(viewer.snapshot.server.page_size);
    let figures = |count: u64, bytes: u64| {
        format!(
            "{:>11}{:>10}{:>8}",
            units::count(count),
            units::bytes(bytes),
            units::percent(units::share(count, blocks))
        )
    };
    let mut lines: Vec<Line> = palette::ALL
        .into_iter()
        .zip(counts)
        .map(|(state, count)| {
            let style = if count == 0 { palette.dim() } else { ratatui::style::Style::new() };
            Line::from(vec![
                swatch(state, palette),
                Span::styled(format!("{:<10}", palette::name(state)), style),
                Span::styled(figures(count, count.saturating_mul(page)), style),
            ])
        })
        .collect();
    lines.push(Line::from(vec![
        Span::raw("  "),
        Span::styled(format!("{:<10}", "all"), palette.strong()),
        Span::styled(figures(blocks, blocks.saturating_mul(page)), palette.strong()),
    ]));
    frame.render_widget(Text::from(lines), inner);
}

fn draw_traffic(frame: &mut Frame, area: Rect, viewer: &Viewer) {
    let palette = viewer.palette;
    let inner = section(frame, area, Heading::plain("Traffic", "a second"), palette);
    let (rates, history) = (&viewer.snapshot.rates, &viewer.history);
    let row = |name: &'static str, rate: f64, series: &Series| {
        let width = usize::from(inner.width).saturating_sub(21);
        Line::from(vec![
            Span::raw(format!("{name:<10}")),
            Span::styled(format!("{:>10} ", units::rate(rate)), palette.strong()),
            Span::styled(strokes::curve(series.values(), width), palette.curve()),
        ])
    };
    let latency = |name: &'static str, latency: Option<&Latency>, series: &Series| match latency {
        Some(latency) => row(name, latency.rate, series),
        None => Line::styled(format!("{name:<10}not measured"), palette.dim()),
    };
    let snapshot = &viewer.snapshot;
    let mut lines = vec![
        row("reads", rates.reads, &history.reads),
        row("writes", rates.writes, &history.writes),
        row("evictions", rates.evictions, &history.evictions),
        row("dirtied", rates.dirtied, &history.dirtied),
        latency("queries", snapshot.queries.as_ref(), &history.queries),
        latency("commits", snapshot.commits.as_ref(), &history.commits),
    ];
    if let Some(queries) = &snapshot.queries {
        let text = format!(
            "p50 {}  p95 {}  p99 {}",
            units::nanoseconds(queries.p50_ns),
            units::nanoseconds(queries.p95_ns),
            units::nanoseconds(queries.p99_ns)
        );
        lines.push(Line::styled(text, palette.dim()));
    }
    frame.render_widget(Text::from(lines), inner);
}

fn draw_migration(frame: &mut Frame, area: Rect, viewer: &Viewer) {
    let palette = viewer.palette;
    let note = format!("at {} (+ -)", viewer.link_rate);
    let inner = section(frame, area, Heading::plain("Migration", &note), palette);
    let totals = &viewer.snapshot.totals;
    let share = units::share(totals.eligible_bytes, totals.pool_bytes);
    let (filled, rest) = strokes::bar(share, usize::from(inner.width));
    let time = |bytes| units::time(viewer.link_rate.time_for(bytes));
    let text = Line::from(vec![
        Span::styled(units::bytes(totals.eligible_bytes), palette.strong()),
        Span::raw(format!(" ({}) can stay behind: saves ", units::percent(share))),
        Span::styled(time(totals.eligible_bytes), palette.strong()),
        Span::raw(format!(" of {}", time(totals.pool_bytes))),
    ]);
    let bar = Line::from(vec![
        Span::styled(filled, palette.state(Cell::Clean)),
        Span::styled(rest, palette.dim()),
    ]);
    frame.render_widget(Text::from(vec![bar, text]), inner);
}

/// The colour of a state, or its letter where there is none.
fn swatch(state: Cell, palette: Palette) -> Span<'static> {
    let mark = if palette.halves() { '■' } else { palette::letter(state) };
    Span::styled(format!("{mark} "), palette.state(state))
}

/// Blocks by state, in the order of [`palette::ALL`].
const fn counts(totals: &Totals) -> [u64; STATES] {
    [totals.clean, totals.dirty, totals.io, totals.ineligible, totals.other, totals.free]
}
