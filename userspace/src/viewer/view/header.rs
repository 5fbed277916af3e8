//! Which server, how current, whether to be believed, at what cost; and the panes.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::super::pane::Pane;
use super::super::state::{Liveness, Viewer};
use super::super::units;
use super::health::Health;

/// Most notices that are shown.
const NOTICES: usize = 3;

/// Lines that the header takes.
pub(super) fn height(viewer: &Viewer) -> u16 {
    let notices = viewer.snapshot.notices.len().min(NOTICES);
    4 + u16::try_from(notices).unwrap_or(0)
}

pub(super) fn draw(frame: &mut Frame, area: Rect, viewer: &Viewer) {
    let palette = viewer.palette;
    let snapshot = &viewer.snapshot;
    let mut lines = vec![
        (server(viewer), liveness(viewer)),
        (
            Line::styled(snapshot.server.program.to_string(), palette.dim()),
            Line::styled(format!("profile: {}", snapshot.server.profile), palette.dim()),
        ),
        health(viewer, area.width),
    ];
    for notice in snapshot.notices.iter().rev().take(NOTICES) {
        let text = format!("! {}", notice);
        lines.push((Line::styled(text, palette.warning()), Line::default()));
    }
    lines.push((panes(viewer), Line::styled("? help", palette.dim())));
    let rows = Layout::vertical(lines.iter().map(|_| Constraint::Length(1))).split(area);
    for ((left, right), row) in lines.into_iter().zip(rows.iter()) {
        // the right side is never cut: it is the short one
        let width = u16::try_from(right.width()).unwrap_or(u16::MAX).min(row.width * 2 / 3);
        let [left_area, right_area] =
            Layout::horizontal([Constraint::Fill(1), Constraint::Length(width)])
                .spacing(1)
                .areas(*row);
        frame.render_widget(Paragraph::new(left), left_area);
        frame.render_widget(Paragraph::new(right).alignment(Alignment::Right), right_area);
    }
}

fn server(viewer: &Viewer) -> Line<'static> {
    let palette = viewer.palette;
    let server = &viewer.snapshot.server;
    let instances = match server.instances {
        1 => "1 instance".to_owned(),
        n => format!("{n} instances"),
    };
    Line::from(vec![
        Span::styled("Poolferry  ", palette.accent()),
        Span::styled(server.version.to_string(), palette.strong()),
        Span::raw(format!(
            "  pid {}  {} pool  {instances}",
            server.pid,
            units::bytes(viewer.snapshot.totals.pool_bytes)
        )),
    ])
}

fn liveness(viewer: &Viewer) -> Line<'static> {
    let palette = viewer.palette;
    let age = units::time(viewer.age());
    match viewer.liveness() {
        Liveness::Live => Line::styled(format!("live, {age} old"), palette.dim()),
        Liveness::Paused => Line::styled(" paused ", palette.warning()),
        Liveness::Late => Line::styled(format!(" no snapshot for {age} "), palette.alarm()),
        Liveness::Ended => Line::styled(" ended: the last snapshot ", palette.alarm()),
    }
}

/// Health and cost; no alarm is cut off for the cost, which the probes' pane shows too.
fn health(viewer: &Viewer, width: u16) -> (Line<'static>, Line<'static>) {
    let health = Health::of(&viewer.snapshot).line(viewer.snapshot.audit.scans, viewer.palette);
    let cost = cost(viewer);
    let both = health.width() + 1 + cost.width() <= usize::from(width);
    (health, if both { cost } else { Line::default() })
}

fn cost(viewer: &Viewer) -> Line<'static> {
    let cost = &viewer.snapshot.cost;
    let probes = cost.bpf_cpu.map_or_else(|| "?".to_owned(), units::percent);
    let text = format!(
        "cost: probes {probes} · agent {} · {}",
        units::percent(cost.agent_cpu),
        units::bytes(cost.agent_rss)
    );
    Line::styled(text, viewer.palette.dim())
}

fn panes(viewer: &Viewer) -> Line<'static> {
    let palette = viewer.palette;
    let mut spans = Vec::new();
    for (number, pane) in (1..).zip(Pane::ALL) {
        let text = format!("{number} {}", pane.title());
        spans.push(if pane == viewer.pane {
            Span::styled(format!("[{text}]"), palette.accent())
        } else {
            Span::styled(format!(" {text} "), palette.dim())
        });
        spans.push(Span::raw(" "));
    }
    Line::from(spans)
}
