//! Lines over an axis, mostly time.

use maud::{Markup, html};

use super::scale::Scale;
use super::{Axis, Colour, Frame, WIDTH, legend, px, svg};

/// How the points of a series are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Straight from point to point: a quantity at moments.
    Line,
    /// A point's value holds since the point before: an average over the time between.
    Step,
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) colour: Colour,
    pub(crate) form: Form,
    /// Sorted by the first number.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A stretch of the horizontal axis that is marked.
#[derive(Clone, Debug)]
pub(crate) struct Band {
    pub(crate) name: String,
    pub(crate) colour: Colour,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// A value that is marked across the chart, as a limit.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    pub(crate) name: String,
    pub(crate) value: f64,
}

/// A chart of lines.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    /// What it shows, for readers who cannot see it.
    pub(crate) label: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
    pub(crate) bands: Vec<Band>,
    pub(crate) levels: Vec<Level>,
    /// The horizontal axis reaches at least to here, so that charts side by side have the same.
    pub(crate) until: f64,
}

const HEIGHT: f64 = 260.0;
const FRAME: Frame = Frame { left: 52.0, right: WIDTH - 12.0, top: 24.0, bottom: HEIGHT - 42.0 };
/// Height of the name of a band.
const BAND_TEXT: f64 = 13.0;

impl Plot {
    /// Draws it with its legend.
    pub(crate) fn draw(&self) -> Markup {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let ends = self.bands.iter().flat_map(|band| [band.from, band.to]);
        let times = points().map(|point| point.0).chain(ends).chain([self.until]);
        let x = Scale::exact(times, self.x.quantity, (FRAME.left, FRAME.right));
        let levels = self.levels.iter().map(|level| level.value);
        let heights = points().map(|point| point.1).chain(levels);
        let y = Scale::new(heights, self.y.quantity, (FRAME.bottom, FRAME.top));
        let drawn = html! {
            @for (row, band) in self.bands.iter().enumerate() { (draw_band(band, row, &x)) }
            (FRAME.draw_x(&x, &self.x))
            (FRAME.draw_y(&y, &self.y))
            @for level in &self.levels { (draw_level(level, &y)) }
            @for series in &self.series {
                path class=(format!("line {}", series.colour.class())) d=(path(series, &x, &y)) {
                    title { (series.name) }
                }
            }
        };
        let entries: Vec<_> = self.series.iter().map(|s| (&*s.name, s.colour)).collect();
        html! { (svg(&self.label, HEIGHT, &drawn)) (legend::draw(&entries)) }
    }
}

/// Bands are see-through, and each has its name on a line of its own, since they may overlap; low in
/// the chart, where lines are rare.
fn draw_band(band: &Band, row: usize, x: &Scale) -> Markup {
    let (from, to) = (x.at(band.from), x.at(band.to).max(x.at(band.from) + 1.0));
    // Names near the right end would leave the chart.
    let (at, anchor) =
        if from > f64::midpoint(FRAME.left, FRAME.right) { (to, "end") } else { (from, "start") };
    let line = BAND_TEXT * f64::from(u8::try_from(row % 8).unwrap_or(0));
    html! {
        rect class=(format!("band {}", band.colour.class())) x=(px(from)) y=(px(FRAME.top))
            width=(px(to - from)) height=(px(FRAME.bottom - FRAME.top)) {}
        text.note x=(px(at)) y=(px(FRAME.bottom - 6.0 - line)) text-anchor=(anchor) dx="3" {
            (band.name)
        }
    }
}

fn draw_level(level: &Level, y: &Scale) -> Markup {
    let at = y.at(level.value);
    html! {
        line.level x1=(px(FRAME.left)) x2=(px(FRAME.right)) y1=(px(at)) y2=(px(at)) {}
        text.note x=(px(FRAME.right)) y=(px(at - 4.0)) text-anchor="end" { (level.name) }
    }
}

/// The line as path data.
fn path(series: &Series, x: &Scale, y: &Scale) -> String {
    let finite = |point: &&(f64, f64)| point.0.is_finite() && point.1.is_finite();
    let placed = series.points.iter().filter(finite).map(|point| (x.at(point.0), y.at(point.1)));
    let mut data = String::new();
    let mut last: Option<(f64, f64)> = None;
    for (x, y) in thinned(placed) {
        match (last, series.form) {
            (None, _) => data.push_str(&format!("M{} {}", px(x), px(y))),
            (Some(_), Form::Line) => data.push_str(&format!("L{} {}", px(x), px(y))),
            (Some(_), Form::Step) => data.push_str(&format!("V{}H{}", px(y), px(x))),
        }
        last = Some((x, y));
    }
    data
}

/// At most four points a column of one unit, its first, lowest, highest and last: what is drawn looks
/// the same, and a day of samples does not make a page of megabytes.
fn thinned(points: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::new();
    let mut column: Vec<(f64, f64)> = Vec::new();
    for point in points {
        if column.first().is_some_and(|first| first.0.floor() != point.0.floor()) {
            keep(&mut column, &mut kept);
        }
        column.push(point);
    }
    keep(&mut column, &mut kept);
    kept
}

fn keep(column: &mut Vec<(f64, f64)>, kept: &mut Vec<(f64, f64)>) {
    if column.len() > 4 {
        let by_height = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let extremes = [column.iter().min_by(by_height), column.iter().max_by(by_height)];
        let mut four = [column.first(), extremes[0], extremes[1], column.last()];
        four[1..3].sort_by(|a, b| {
            a.map(|p| p.0).partial_cmp(&b.map(|p| p.0)).unwrap_or(std::cmp::Ordering::Equal)
        });
        kept.extend(four.into_iter().flatten());
    } else {
        kept.extend(column.iter());
    }
    column.clear();
}

#[cfg(test)]
mod tests {
    use super::super::tests::{numbers, texts};
    use super::*;
    use crate::units::Quantity;

    fn plot(points: Vec<(f64, f64)>, form: Form) -> Plot {
        let name = "remaining".to_owned();
        Plot {
            label: "memory".to_owned(),
            x: Axis { name: "time", quantity: Quantity::Seconds },
            y: Axis { name: "remaining", quantity: Quantity::Bytes },
            series: vec![Series { name, colour: Colour::Ours, form, points }],
            bands: Vec::new(),
            levels: Vec::new(),
            until: 0.0,
        }
    }

    fn drawn(plot: &Plot) -> String {
        let text = plot.draw().into_string();
        let end = text.find("</svg>").unwrap() + "</svg>".len();
        text[..end].to_owned()
    }

    fn data(plot: &Plot) -> String {
        let svg = drawn(plot);
        let document = roxmltree::Document::parse(&svg).unwrap();
        let path = document.descendants().find(|node| node.tag_name().name() == "path").unwrap();
        path.attribute("d").unwrap().to_owned()
    }

    #[test]
    fn a_line_goes_through_its_points() {
        // 4 KiB down to 0 in 10 s: the whole frame, from corner to corner.
        let line = plot(vec![(0.0, 4096.0), (5.0, 2048.0), (10.0, 0.0)], Form::Line);
        assert_eq!(data(&line), "M52 24L340 121L628 218");
        let step = plot(vec![(0.0, 4096.0), (10.0, 0.0)], Form::Step);
        assert_eq!(data(&step), "M52 24V218H628");
        let ticks = texts(&drawn(&line), "text");
        assert!(ticks.contains(&"remaining (KiB)".to_owned()), "{ticks:?}");
        assert!(ticks.contains(&"time (s)".to_owned()), "{ticks:?}");
    }

    #[test]
    fn bands_and_levels_stand_where_they_belong() {
        let mut plot = plot(vec![(-10.0, 0.0), (10.0, 4096.0)], Form::Line);
        let name = "<b>migration</b>".to_owned();
        plot.bands.push(Band { name: name.clone(), colour: Colour::Ours, from: 0.0, to: 5.0 });
        plot.levels.push(Level { name: "half".to_owned(), value: 2048.0 });
        let svg = drawn(&plot);
        assert_eq!(numbers(&svg, "rect", "band", "x"), [340.0]);
        assert_eq!(numbers(&svg, "rect", "band", "width"), [144.0]);
        assert_eq!(numbers(&svg, "line", "level", "y1"), [121.0]);
        assert!(texts(&svg, "text").contains(&name));
    }

    #[test]
    fn many_points_keep_their_peaks() {
        let mut points: Vec<_> = (0..100_000).map(|i| (f64::from(i), 1.0)).collect();
        points[54_321].1 = 4096.0;
        let data = data(&plot(points, Form::Line));
        assert!(data.len() < 60_000, "{}", data.len());
        assert!(data.contains(" 24L"), "the peak is gone");
    }

    #[test]
    fn no_points_and_odd_points_draw() {
        for points in [vec![], vec![(f64::NAN, 1.0), (1.0, f64::INFINITY)], vec![(3.0, 3.0)]] {
            let svg = drawn(&plot(points, Form::Step));
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
