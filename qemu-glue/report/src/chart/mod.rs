//! Charts as SVG that stands in the page: no script, no outside file.
//!
//! A chart is data ([`Plot`], [`Bars`], [`Spans`]) with one `draw`. Colours are classes of the page's
//! style, so one drawing serves light and dark. Values that are no numbers are left out.

mod bars;
mod colour;
mod legend;
mod plot;
mod scale;
mod spans;

use maud::{Markup, html};

pub(crate) use bars::{BarPart, Bars, Row};
pub(crate) use colour::Colour;
pub(crate) use plot::{Band, Form, Level, Plot, Series};
pub(crate) use spans::{Lane, Span, Spans};

use super::units::Quantity;
use scale::Scale;

/// What an axis shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    /// Its name.
    pub(crate) name: &'static str,
    /// What its numbers count.
    pub(crate) quantity: Quantity,
}

impl Axis {
    /// Name and unit: `time (s)`.
    fn title(&self, scale: &Scale) -> String {
        match scale.unit().name {
            "" => self.name.to_owned(),
            unit => format!("{} ({unit})", self.name),
        }
    }
}

/// The area between the axes, in the units of the view box.
#[derive(Clone, Copy, Debug)]
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

/// Width of every chart's view box; its text is sized for it.
const WIDTH: f64 = 640.0;

impl Frame {
    /// Lines and numbers of a horizontal axis below the frame, and its title.
    fn draw_x(&self, scale: &Scale, axis: &Axis) -> Markup {
        let (top, bottom) = (px(self.top), px(self.bottom));
        html! {
            @for (value, text) in scale.ticks() {
                @let x = px(scale.at(value));
                line.grid x1=(x) x2=(x) y1=(top) y2=(bottom) {}
                text.tick x=(x) y=(px(self.bottom + 16.0)) text-anchor="middle" { (text) }
            }
            text.axis x=(px(f64::midpoint(self.left, self.right))) y=(px(self.bottom + 34.0))
                text-anchor="middle" { (axis.title(scale)) }
        }
    }

    /// Lines and numbers of a vertical axis left of the frame, and its title above it.
    fn draw_y(&self, scale: &Scale, axis: &Axis) -> Markup {
        let (left, right) = (px(self.left), px(self.right));
        html! {
            @for (value, text) in scale.ticks() {
                @let y = px(scale.at(value));
                line.grid x1=(left) x2=(right) y1=(y) y2=(y) {}
                text.tick x=(px(self.left - 6.0)) y=(px(scale.at(value) + 4.0)) text-anchor="end" {
                    (text)
                }
            }
            text.axis x="0" y="12" { (axis.title(scale)) }
        }
    }
}

/// The drawing of `height` around `content`; `label` is read to those who cannot see it.
fn svg(label: &str, height: f64, content: &Markup) -> Markup {
    html! {
        svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label=(label)
            viewBox=(format!("0 0 {} {}", px(WIDTH), px(height))) {
            (content)
        }
    }
}

/// A coordinate with a tenth of a unit, which is finer than any screen.
fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Numbers of an attribute, in the order of the elements `tag` with class `class`.
    pub(crate) fn numbers(svg: &str, tag: &str, class: &str, attribute: &str) -> Vec<f64> {
        let document = roxmltree::Document::parse(svg).unwrap();
        let wanted = |node: &roxmltree::Node<'_, '_>| {
            let classes = node.attribute("class").unwrap_or_default();
            node.has_tag_name(("http://www.w3.org/2000/svg", tag))
                && (class.is_empty() || classes.split(' ').any(|one| one == class))
        };
        let found = document.descendants().filter(wanted);
        found.map(|node| node.attribute(attribute).unwrap().parse().unwrap()).collect()
    }

    /// The text of all elements `tag`.
    pub(crate) fn texts(svg: &str, tag: &str) -> Vec<String> {
        let document = roxmltree::Document::parse(svg).unwrap();
        let named = document.descendants().filter(|node| node.tag_name().name() == tag);
        named.map(|node| node.text().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!([1.0, 1.25, -0.04, 640.0].map(px), ["1", "1.2", "-0", "640"]);
    }

    #[test]
    fn foreign_text_stays_text() {
        let evil = "</svg><script>alert(1)</script>\"'&";
        let drawn = svg(evil, 10.0, &html! { text { (evil) } }).into_string();
        assert_eq!(texts(&drawn, "text"), [evil]);
        assert!(!drawn.contains("<script"), "{drawn}");
    }
}
