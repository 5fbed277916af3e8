//! The last line: the filter while it is typed, else the keys that matter in this pane.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::pane::Pane;
use super::super::state::Viewer;

pub(super) fn draw(frame: &mut Frame, area: Rect, viewer: &Viewer) {
    let palette = viewer.palette;
    let line = if viewer.filter.editing {
        Line::from(vec![
            Span::styled("filter /", palette.accent()),
            Span::raw(viewer.filter.text.clone()),
            Span::styled("▏", palette.accent()),
            Span::styled("  Enter keeps it, Esc clears it", palette.dim()),
        ])
    } else {
        Line::from(hints(viewer.pane).iter().fold(Vec::new(), |mut spans, (key, does)| {
            spans.push(Span::styled(*key, palette.strong()));
            spans.push(Span::styled(format!(" {does}   "), palette.dim()));
            spans
        }))
    };
    frame.render_widget(line, area);
}

const fn hints(pane: Pane) -> &'static [(&'static str, &'static str)] {
    match pane {
        Pane::Pool => &[
            ("q", "quit"),
            ("Tab", "pane"),
            ("p", "pause"),
            ("+ -", "link rate"),
            ("< >", "refresh"),
        ],
        Pane::Tables => {
            &[("q", "quit"), ("Tab", "pane"), ("j k", "scroll"), ("s S", "sort"), ("/", "filter")]
        }
        Pane::Probes => &[("q", "quit"), ("Tab", "pane"), ("j k", "scroll"), ("p", "pause")],
        Pane::Trace => {
            &[("q", "quit"), ("Tab", "pane"), ("t", "tracing"), ("w", "frames"), ("p", "pause")]
        }
    }
}
