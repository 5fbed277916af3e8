//! The probes: how often each fires, what it lost; latencies, the audit and the cost of observing.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Row, Table};

use crate::model::{Latency, ProbeRow};

use super::super::pane::Pane;
use super::super::state::Viewer;
use super::super::strokes;
use super::super::units;
use super::section::{Heading, first_line, section};

/// Lines below the table of probes: latency, audit and cost with their rules.
const BELOW: u16 = 3 + 2 + 3;

/// Lines that show everything.
pub(super) fn height(viewer: &Viewer) -> u16 {
    u16::try_from(viewer.snapshot.probes.len().clamp(1, 8)).unwrap_or(8) + 2 + BELOW
}

pub(super) fn draw(frame: &mut Frame, area: Rect, viewer: &Viewer) {
    let parts = Layout::vertical([
        Constraint::Max(height(viewer) - BELOW),
        Constraint::Length(3),
        Constraint::Length(2),
        Constraint::Length(3),
    ]);
    let [probes, latency, audit, cost] = parts.areas(area);
    draw_probes(frame, probes, viewer);
    draw_latency(frame, latency, viewer);
    draw_audit(frame, audit, viewer);
    draw_cost(frame, cost, viewer);
}

fn draw_probes(frame: &mut Frame, area: Rect, viewer: &Viewer) {
    let palette = viewer.palette;
    let note = format!("attached for {}", units::time(viewer.snapshot.since_attach));
    let heading = Heading::of_pane("Probes", &note, Pane::Probes, viewer);
    let inner = section(frame, area, heading, palette);
    let lines = usize::from(inner.height).saturating_sub(1);
    let probes = &viewer.snapshot.probes;
    let first = first_line(viewer.cursor(Pane::Probes), probes.len(), lines);
    // what the columns to the right need: 12 + 14 + 8 + 8 + 8 and six spaces
    let width = usize::from(inner.width).saturating_sub(11 + 12 + 14 + 3 * 8 + 6).min(40);
    let rows = probes[first..].iter().take(lines).map(|probe| row(probe, viewer, width));
    let right = |title| Cell::from(Line::styled(title, palette.dim()).right_aligned());
    let titles = Row::new([
        Cell::from(Line::styled("probe", palette.dim())),
        right("rate"),
        Cell::default(),
        right("hits"),
        right("lost"),
        right("foreign"),
        right("faults"),
    ]);
    let widths = [
        Constraint::Length(11),
        Constraint::Length(12),
        Constraint::Fill(1),
        Constraint::Length(14),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(8),
    ];
    frame.render_widget(Table::new(rows, widths).header(titles).column_spacing(1), inner);
}

fn row(probe: &ProbeRow, viewer: &Viewer, width: usize) -> Row<'static> {
    let palette = viewer.palette;
    let right = |text: String, style: Style| Cell::from(Line::styled(text, style).right_aligned());
    let count = |value: u64, bad: Style| {
        let style = if value == 0 { palette.dim() } else { bad };
        right(units::count(value), style)
    };
    let curve = viewer.history.probe(&probe.name);
    let curve = curve.map_or_else(String::new, |series| strokes::curve(series.values(), width));
    Row::new([
        Cell::from(foreign::shown(&probe.name).to_string()),
        right(units::rate(probe.rate), palette.strong()),
        Cell::from(Line::styled(curve, palette.curve()).right_aligned()),
        right(units::count(probe.hits), Style::new()),
        count(probe.ring_lost, palette.alarm()),
        count(probe.foreign, palette.warning()),
        count(probe.faults, palette.alarm()),
    ])
}

fn draw_latency(frame: &mut Frame, area: Rect, viewer: &Viewer) {
    let palette = viewer.palette;
    let heading = Heading::plain("Latency", "upper bounds of powers of two");
    let inner = section(frame, area, heading, palette);
    let line = |name: &'static str, latency: Option<&Latency>| match latency {
        Some(latency) => Line::raw(format!(
            "{name:<10}{:>11}   p50 {:>8}   p95 {:>8}   p99 {:>8}",
            units::rate(latency.rate),
            units::nanoseconds(latency.p50_ns),
            units::nanoseconds(latency.p95_ns),
            units::nanoseconds(latency.p99_ns),
        )),
        None => Line::styled(format!("{name:<10}not measured"), palette.dim()),
    };
    let lines = vec![
        line("queries", viewer.snapshot.queries.as_ref()),
        line("commits", viewer.snapshot.commits.as_ref()),
    ];
    frame.render_widget(Text::from(lines), inner);
}

fn draw_audit(frame: &mut Frame, area: Rect, viewer: &Viewer) {
    let palette = viewer.palette;
    let audit = &viewer.snapshot.audit;
    let note = match audit.scans {
        1 => "1 scan".to_owned(),
        scans => format!("{} scans", units::count(scans)),
    };
    let inner = section(frame, area, Heading::plain("Audit", &note), palette);
    let bad = |count: u64, name: &str| {
        let style = if count == 0 { Style::new() } else { palette.alarm() };
        Span::styled(format!("{} {name}", units::count(count)), style)
    };
    let line = Line::from(vec![
        Span::styled(format!("{} blocks: ", units::count(audit.compared)), palette.dim()),
        Span::raw(format!("{} in flight, ", units::count(audit.transient))),
        bad(audit.drift, "drift"),
        Span::raw(", "),
        bad(audit.falsely_clean, "falsely clean"),
        Span::raw(format!(", {} repaired", units::count(audit.repaired))),
    ]);
    frame.render_widget(line, inner);
}

fn draw_cost(frame: &mut Frame, area: Rect, viewer: &Viewer) {
    let palette = viewer.palette;
    let inner = section(frame, area, Heading::plain("Cost", "of one CPU"), palette);
    let cost = &viewer.snapshot.cost;
    let cpu = cost.bpf_cpu.map_or_else(|| "not known".to_owned(), units::percent);
    let run = cost.bpf_ns_per_run.map_or_else(String::new, |ns| format!("{ns:.0} ns a run"));
    let lines = vec![
        Line::raw(format!(
            "probes {cpu:>10}   {run:<16}   {} in the kernel",
            units::bytes(cost.map_bytes)
        )),
        Line::raw(format!(
            "agent  {:>10}   {:<16}   {} resident",
            units::percent(cost.agent_cpu),
            "",
            units::bytes(cost.agent_rss)
        )),
    ];
    frame.render_widget(Text::from(lines), inner);
}
