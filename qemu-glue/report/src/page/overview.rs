//! All comparisons of a page at a glance, where there are several.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::figure::Figure;
use crate::cell::{Comparison, POOLFERRY, STOCK, Way};
use crate::chart::{Axis, Colour, Form, Plot, Series};
use crate::results::entry;
use crate::units::{Quantity, three_digits};
use crate::{Dip, Median};
use migration_record::approximate;

/// Sizes of the pool that make a line worth drawing.
const SIZES: usize = 3;

/// A table of medians, a line for each way of each cell, and how time goes with the pool.
pub(super) fn draw(cells: &[Comparison<'_>]) -> Markup {
    if cells.len() < 2 {
        return Markup::default();
    }
    html! {
        section {
            h2 { "At a glance" }
            p.warning {
                "Medians. The limit is what both links together need for the bytes that stock QEMU sends; what is compressed can be below it. "
                "Load lost: transactions missing until the load was back, in seconds of what it did before."
            }
            table {
                thead {
                    tr {
                        th { "way" } th { "runs" } th { "total time" } th { "times as fast as stock" } th { "of the limit" }
                        th { "downtime" } th { "migration link" } th { "storage link" } th { "load lost" }
                    }
                }
                @for (number, cell) in (1..).zip(cells) { (body(number, cell)) }
            }
            div.figures { @for figure in growths(cells) { (figure.draw()) } }
        }
    }
}

/// The name under which a cell is found on its page.
pub(super) fn anchor(number: usize) -> String {
    format!("comparison-{number}")
}

fn body(number: usize, cell: &Comparison<'_>) -> Markup {
    html! {
        tbody {
            tr { th colspan="9" { a href=(format!("#{}", anchor(number))) { (cell.title()) } } }
            @for way in &cell.ways { (row(cell, way)) }
        }
    }
}

fn row(cell: &Comparison<'_>, way: &Way<'_>) -> Markup {
    let entry = entry(cell, way);
    let median = |quantity: Quantity, of: fn(&Median) -> f64| {
        shown(entry.median.as_ref().map(|median| quantity.text(of(median))))
    };
    let lost = way.median_of(|run| Some(Dip::of(run)?.lost_s));
    html! {
        tr {
            td { (way.name()) }
            td.number { (way.completed().count()) " of " (way.runs.len()) }
            (median(Quantity::Seconds, |median| median.total_time_s))
            (shown(entry.speedup_over_stock.map(three_digits)))
            (shown(entry.total_time_over_limit.map(three_digits)))
            (median(Quantity::Milliseconds, |median| median.downtime_ms))
            (median(Quantity::Bytes, |median| median.network_bytes))
            (median(Quantity::Bytes, |median| median.storage_bytes))
            (shown(lost.map(|lost| Quantity::Seconds.text(lost))))
        }
    }
}

fn shown(text: Option<String>) -> Markup {
    html! { td.number { (text.unwrap_or_else(|| "–".to_owned())) } }
}

/// For each load and pair of links with enough sizes of the pool: total time by size.
fn growths(cells: &[Comparison<'_>]) -> Vec<Figure> {
    let conditions: BTreeSet<String> = cells.iter().map(Comparison::conditions).collect();
    conditions.iter().filter_map(|conditions| growth(cells, conditions)).collect()
}

fn growth(cells: &[Comparison<'_>], conditions: &str) -> Option<Figure> {
    let line = |(mode, colour): (&str, Colour)| {
        let mut points: Vec<(f64, f64)> = cells
            .iter()
            .filter(|cell| cell.conditions() == conditions)
            .filter_map(|cell| {
                let time = cell.way(mode)?.median(|run| run.total_time_s)?;
                Some((approximate(cell.pool_bytes?), time))
            })
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let way = cells.iter().find_map(|cell| cell.way(mode))?;
        let name = way.name().to_string();
        (points.len() >= SIZES).then_some(Series { name, colour, form: Form::Line, points })
    };
    let lines = [(STOCK, Colour::Stock), (POOLFERRY, Colour::Ours)];
    let series: Vec<_> = lines.into_iter().filter_map(line).collect();
    if series.is_empty() {
        return None;
    }
    let title = format!("Total time by size of the pool: {conditions}");
    let plot = Plot {
        label: title.clone(),
        x: Axis { name: "buffer pool", quantity: Quantity::Bytes },
        y: Axis { name: "total time", quantity: Quantity::Seconds },
        series,
        bands: Vec::new(),
        levels: Vec::new(),
        until: 0.0,
    };
    let caption = "Medians. A straight line: time goes with the pool, and nothing grows faster.";
    Some(Figure { title, caption, drawing: plot.draw() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::cells;
    use crate::page::sample_reports;
    use migration_record::Report;

    #[test]
    fn one_comparison_needs_no_overview() {
        assert_eq!(draw(&cells(&sample_reports())).into_string(), "");
    }

    #[test]
    fn every_comparison_is_a_line_that_leads_to_it_and_sizes_make_a_figure() {
        let mut reports = Vec::new();
        for gib in 1..=3 {
            reports.extend(sample_reports().into_iter().map(|report| Report {
                pool_bytes: Some(gib << 30),
                total_time_s: report.total_time_s * approximate(gib),
                ..report
            }));
        }
        let page = draw(&cells(&reports)).into_string();
        for part in ["#comparison-1", "#comparison-3", "<td class=\"number\">2</td>", "60 s"] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert_eq!(page.matches("<figure>").count(), 1, "{page}");
        let two = draw(&cells(&reports[..4])).into_string();
        assert_eq!(two.matches("<figure>").count(), 0, "two points are no line");
    }
}
