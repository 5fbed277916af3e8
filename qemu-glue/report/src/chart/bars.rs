//! Horizontal bars of stacked parts.

use maud::{Markup, html};

use super::scale::Scale;
use super::{Axis, Colour, Frame, WIDTH, legend, px, svg};

/// A part of a bar.
#[derive(Clone, Debug)]
pub(crate) struct BarPart {
    pub(crate) name: String,
    pub(crate) colour: Colour,
    pub(crate) value: f64,
}

/// One bar.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) parts: Vec<BarPart>,
    /// Single values on the same axis, drawn as dots: the runs behind a median.
    pub(crate) dots: Vec<f64>,
}

/// A chart of bars.
#[derive(Clone, Debug)]
pub(crate) struct Bars {
    /// What it shows, for readers who cannot see it.
    pub(crate) label: String,
    pub(crate) axis: Axis,
    pub(crate) rows: Vec<Row>,
}

const ROW: f64 = 40.0;
const THICK: f64 = 22.0;
const TOP: f64 = 6.0;
const LEFT: f64 = 112.0;
/// Room for the sum at the end of a bar.
const RIGHT: f64 = WIDTH - 84.0;

impl Row {
    /// Length of the bar; parts that are no amounts count for nothing.
    fn sum(&self) -> f64 {
        self.parts.iter().map(BarPart::length).sum()
    }

    /// Where its last mark is: the end of the bar, or the furthest dot.
    fn reach(&self) -> f64 {
        self.dots.iter().copied().filter(|dot| dot.is_finite()).fold(self.sum(), f64::max)
    }
}

impl BarPart {
    fn length(&self) -> f64 {
        if self.value.is_finite() { self.value.max(0.0) } else { 0.0 }
    }
}

impl Bars {
    /// Draws it with its legend.
    pub(crate) fn draw(&self) -> Markup {
        let sums = self.rows.iter().map(Row::sum);
        let dots = self.rows.iter().flat_map(|row| row.dots.iter().copied());
        let scale = Scale::new(sums.chain(dots), self.axis.quantity, (LEFT, RIGHT));
        let tops = std::iter::successors(Some(TOP), |top| Some(top + ROW));
        let bottom = tops.clone().nth(self.rows.len()).unwrap_or(TOP);
        let frame = Frame { left: LEFT, right: RIGHT, top: TOP, bottom };
        let drawn = html! {
            (frame.draw_x(&scale, &self.axis))
            @for (row, top) in self.rows.iter().zip(tops) { (self.draw_row(row, top, &scale)) }
        };
        html! { (svg(&self.label, bottom + 42.0, &drawn)) (legend::draw(&self.names())) }
    }

    fn draw_row(&self, row: &Row, top: f64, scale: &Scale) -> Markup {
        let (middle, text) = (top + ROW / 2.0, top + ROW / 2.0 + 4.0);
        let starts = row.parts.iter().scan(0.0, |end, part| {
            let start = *end;
            *end += part.length();
            Some((start, *end))
        });
        let quantity = self.axis.quantity;
        html! {
            text.name x=(px(LEFT - 8.0)) y=(px(text)) text-anchor="end" { (row.name) }
            @for (part, (start, end)) in row.parts.iter().zip(starts) {
                rect class=(format!("part {}", part.colour.class())) x=(px(scale.at(start)))
                    y=(px(middle - THICK / 2.0)) width=(px(scale.at(end) - scale.at(start)))
                    height=(px(THICK)) {
                    title {
                        @if !part.name.is_empty() { (part.name) ": " }
                        (quantity.text(part.length()))
                    }
                }
            }
            @for dot in row.dots.iter().filter(|dot| dot.is_finite()) {
                circle.dot cx=(px(scale.at(*dot))) cy=(px(middle)) r="3.5" {
                    title { (quantity.text(*dot)) }
                }
            }
            text.value x=(px(scale.at(row.reach()).max(LEFT) + 8.0)) y=(px(text)) {
                (quantity.text(row.sum()))
            }
        }
    }

    /// Every part's name once, in the order in which they come.
    fn names(&self) -> Vec<(&str, Colour)> {
        let mut names: Vec<(&str, Colour)> = Vec::new();
        for part in self.rows.iter().flat_map(|row| &row.parts) {
            if !names.iter().any(|(name, _)| *name == part.name) {
                names.push((&part.name, part.colour));
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{numbers, texts};
    use super::*;
    use crate::units::Quantity;

    fn part(name: &str, value: f64) -> BarPart {
        BarPart { name: name.to_owned(), colour: Colour::Other(0), value }
    }

    fn bars(rows: Vec<Row>) -> String {
        let axis = Axis { name: "time", quantity: Quantity::Seconds };
        let text = Bars { label: "times".to_owned(), axis, rows }.draw().into_string();
        let end = text.find("</svg>").unwrap() + "</svg>".len();
        text[..end].to_owned()
    }

    fn row(name: &str, parts: Vec<BarPart>, dots: Vec<f64>) -> Row {
        Row { name: name.to_owned(), parts, dots }
    }

    #[test]
    fn parts_follow_each_other_to_scale() {
        // The axis reaches to 10 s over 444 units.
        let svg = bars(vec![
            row("a", vec![part("x", 2.5), part("y", 7.5)], vec![5.0]),
            row("b", vec![part("x", 5.0)], vec![]),
        ]);
        assert_eq!(numbers(&svg, "rect", "part", "x"), [112.0, 223.0, 112.0]);
        assert_eq!(numbers(&svg, "rect", "part", "width"), [111.0, 333.0, 222.0]);
        assert_eq!(numbers(&svg, "circle", "dot", "cx"), [334.0]);
        assert_eq!(numbers(&svg, "rect", "part", "y"), [15.0, 15.0, 55.0]);
        assert!(texts(&svg, "text").contains(&"10 s".to_owned()));
    }

    #[test]
    fn amounts_that_are_none_have_no_length() {
        let odd = vec![part("x", f64::NAN), part("y", -3.0), part("z", f64::INFINITY)];
        let svg = bars(vec![row("a", odd, vec![f64::NAN])]);
        assert_eq!(numbers(&svg, "rect", "part", "width"), [0.0, 0.0, 0.0]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let empty = bars(vec![]);
        assert!(numbers(&empty, "rect", "part", "x").is_empty());
    }
}
