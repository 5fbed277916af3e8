//! What happened when: lanes of spans over time.

use maud::{Markup, html};

use super::scale::Scale;
use super::{Axis, Colour, Frame, WIDTH, px, svg};
use crate::units::Quantity;

/// A stretch of time, or a moment where both ends are the same.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// Spans of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub(crate) name: String,
    pub(crate) colour: Colour,
    pub(crate) spans: Vec<Span>,
}

/// A chart of lanes.
#[derive(Clone, Debug)]
pub(crate) struct Spans {
    /// What it shows, for readers who cannot see it.
    pub(crate) label: String,
    pub(crate) lanes: Vec<Lane>,
}

const LANE: f64 = 22.0;
const THICK: f64 = 12.0;
const TOP: f64 = 6.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = WIDTH - 12.0;
/// What is shorter is drawn so long, that it can be seen.
const SHORTEST: f64 = 1.5;

impl Spans {
    /// Draws it.
    pub(crate) fn draw(&self) -> Markup {
        let ends = self.lanes.iter().flat_map(|lane| &lane.spans).flat_map(|s| [s.from, s.to]);
        let axis = Axis { name: "time", quantity: Quantity::Seconds };
        let scale = Scale::exact(ends, axis.quantity, (LEFT, RIGHT));
        let tops = std::iter::successors(Some(TOP), |top| Some(top + LANE));
        let bottom = tops.clone().nth(self.lanes.len()).unwrap_or(TOP);
        let frame = Frame { left: LEFT, right: RIGHT, top: TOP, bottom };
        let drawn = html! {
            (frame.draw_x(&scale, &axis))
            @for (lane, top) in self.lanes.iter().zip(tops) { (draw_lane(lane, top, &scale)) }
        };
        svg(&self.label, bottom + 42.0, &drawn)
    }
}

fn draw_lane(lane: &Lane, top: f64, scale: &Scale) -> Markup {
    let whole = |span: &&Span| span.from.is_finite() && span.to.is_finite();
    html! {
        text.name x=(px(LEFT - 8.0)) y=(px(top + LANE / 2.0 + 4.0)) text-anchor="end" {
            (lane.name)
        }
        @for span in lane.spans.iter().filter(whole) {
            @let (from, to) = (scale.at(span.from), scale.at(span.to));
            rect class=(format!("part {}", lane.colour.class())) x=(px(from))
                y=(px(top + (LANE - THICK) / 2.0)) width=(px((to - from).max(SHORTEST)))
                height=(px(THICK)) {
                title {
                    (span.name) ": " (Quantity::Seconds.text(span.from)) ", "
                    (Quantity::Milliseconds.text((span.to - span.from) * 1000.0)) " long"
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{numbers, texts};
    use super::*;

    #[test]
    fn spans_stand_in_their_lanes() {
        let span = |from, to| Span { name: "<i>".to_owned(), from, to };
        let lane =
            |name: &str, spans| Lane { name: name.to_owned(), colour: Colour::Other(1), spans };
        // From -2 s to 8 s over 478 units.
        let lanes = vec![
            lane("list", vec![span(-2.0, 0.0)]),
            lane("syncs", vec![span(3.0, 3.0), span(f64::NAN, 4.0), span(3.0, 8.0)]),
        ];
        let svg = Spans { label: "when".to_owned(), lanes }.draw().into_string();
        assert_eq!(numbers(&svg, "rect", "part", "x"), [150.0, 389.0, 389.0]);
        assert_eq!(numbers(&svg, "rect", "part", "width"), [95.6, 1.5, 239.0]);
        assert_eq!(numbers(&svg, "rect", "part", "y"), [11.0, 33.0, 33.0]);
        assert!(texts(&svg, "title").iter().all(|title| title.starts_with("<i>: ")));
    }
}
