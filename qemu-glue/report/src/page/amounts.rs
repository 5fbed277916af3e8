//! Figures of amounts: bars that compare the ways to migrate.

use super::figure::{Figure, colour};
use crate::cell::{Comparison, Way};
use crate::chart::{Axis, BarPart, Bars, Colour, Row};
use crate::units::Quantity;
use migration_record::{Report, approximate};

/// Steps of making the page list, in the order in which they are done; others follow by name.
const STEPS: [&str; 12] = [
    "sync",
    "refresh",
    "scan",
    "translate",
    "locate",
    "merge",
    "pin",
    "encode",
    "hash",
    "frames",
    "transfer",
    "verify",
];
/// The key of `list_s` that is the sum.
const TOTAL: &str = "total";

/// All of them that have data.
pub(super) fn figures(cell: &Comparison<'_>) -> Vec<Figure> {
    [total_time(cell), downtime(cell), bytes(cell), pages(cell), list(cell)]
        .into_iter()
        .flatten()
        .collect()
}

fn figure(title: &str, caption: &'static str, axis: Axis, rows: Vec<Row>) -> Option<Figure> {
    let title = title.to_owned();
    if rows.is_empty() {
        return None;
    }
    let drawing = Bars { label: title.clone(), axis, rows }.draw();
    Some(Figure { title, caption, drawing })
}

/// A bar of the median with a dot for each run.
fn medians(cell: &Comparison<'_>, of: fn(&Report) -> f64) -> Vec<Row> {
    let row = |way: &Way<'_>| {
        let name = way.name().to_string();
        let colour = colour(cell, way.mode);
        let part = BarPart { name: "median".to_owned(), colour, value: way.median(of)? };
        let dots = way.values(of);
        Some(Row { name, parts: vec![part], dots: if dots.len() > 1 { dots } else { vec![] } })
    };
    // One colour a way would need a legend that repeats the rows' names.
    let mut rows: Vec<Row> = cell.ways.iter().filter_map(row).collect();
    for part in rows.iter_mut().flat_map(|row| &mut row.parts) {
        part.name.clear();
    }
    rows
}

fn total_time(cell: &Comparison<'_>) -> Option<Figure> {
    figure(
        "Total migration time",
        "From the command to the end of the migration. The bar is the median; each dot is a run.",
        Axis { name: "total time", quantity: Quantity::Seconds },
        medians(cell, |run| run.total_time_s),
    )
}

fn downtime(cell: &Comparison<'_>) -> Option<Figure> {
    figure(
        "Downtime",
        "How long the VM ran on neither host. The bar is the median; each dot is a run.",
        Axis { name: "downtime", quantity: Quantity::Milliseconds },
        medians(cell, |run| run.downtime_ms),
    )
}

fn bytes(cell: &Comparison<'_>) -> Option<Figure> {
    let row = |way: &Way<'_>| {
        let part = |name: &str, colour, of: fn(&Report) -> u64| {
            let value = way.median(|run| approximate(of(run)))?;
            Some(BarPart { name: name.to_owned(), colour, value })
        };
        let parts = vec![
            part("migration link", Colour::Network, |run| run.network_bytes)?,
            part("storage link", Colour::Storage, |run| run.storage_bytes)?,
        ];
        Some(Row { name: way.name().to_string(), parts, dots: vec![] })
    };
    figure(
        "Bytes by path",
        "What went over each link, median of the runs.",
        Axis { name: "transferred", quantity: Quantity::Bytes },
        cell.ways.iter().filter_map(row).collect(),
    )
}

fn pages(cell: &Comparison<'_>) -> Option<Figure> {
    let row = |way: &Way<'_>| {
        let run = way.typical().filter(|run| run.pages.listed.max(run.pages.skipped) > 0)?;
        let pages = run.pages;
        // What is skipped has pages of zeros too, which no list names.
        let named = pages.skipped.saturating_sub(pages.zero);
        let part = |name: &str, colour, count| BarPart {
            name: name.to_owned(),
            colour,
            value: approximate(count),
        };
        let parts = vec![
            part("installed from storage", Colour::Storage, pages.installed),
            part("sent by QEMU before", Colour::Other(1), pages.already_present),
            part("re-dirtied", Colour::Network, pages.redirtied),
            part("listed, not skipped", Colour::Stock, pages.listed.saturating_sub(named)),
        ];
        Some(Row { name: way.name().to_string(), parts, dots: vec![] })
    };
    figure(
        "What became of the pages",
        "Pages of 4 KiB that the guest's list named, in the run of median time.",
        Axis { name: "pages", quantity: Quantity::Count("pages") },
        cell.ways.iter().filter_map(row).collect(),
    )
}

fn list(cell: &Comparison<'_>) -> Option<Figure> {
    let row = |way: &Way<'_>| {
        let run = way.typical().filter(|run| !run.list_s.is_empty())?;
        Some(Row { name: way.name().to_string(), parts: steps(run), dots: vec![] })
    };
    figure(
        "Making the page list, by step",
        "From the request to the host having read the list, in the run of median time. Steps that ran \
         side by side are drawn one after the other.",
        Axis { name: "time", quantity: Quantity::Milliseconds },
        cell.ways.iter().filter_map(row).collect(),
    )
}

fn steps(run: &Report) -> Vec<BarPart> {
    let rank = |name: &str| STEPS.iter().position(|step| *step == name).unwrap_or(STEPS.len());
    let timed = run.list_s.iter().filter(|(name, _)| **name != *TOTAL);
    let mut steps: Vec<(&str, f64)> = timed.map(|(name, s)| (name.raw(), *s)).collect();
    steps.sort_by_key(|(name, _)| rank(name));
    let timed: f64 = steps.iter().map(|(_, seconds)| seconds).sum();
    let rest = run.list_s.get(TOTAL).map_or(0.0, |total| total - timed);
    if rest > 0.0 {
        steps.push(("between the steps", rest));
    }
    let part = |(index, (name, seconds)): (usize, (&str, f64))| BarPart {
        name: foreign::shown(name).to_string(),
        colour: Colour::Other(index),
        value: seconds * 1000.0,
    };
    steps.into_iter().enumerate().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::cells;
    use crate::page::sample_reports;

    #[test]
    fn steps_come_in_the_order_in_which_they_are_done() {
        let reports = sample_reports();
        let parts = steps(&reports[1]);
        let names: Vec<_> = parts.iter().map(|part| &*part.name).collect();
        assert_eq!(names, ["sync", "scan", "translate", "transfer", "between the steps"]);
        assert!((parts[4].value - 9.0).abs() < 1e-6, "{}", parts[4].value);
    }

    #[test]
    fn stock_has_no_bar_where_it_has_no_data() {
        let reports = sample_reports();
        let cells = cells(&reports);
        assert_eq!(medians(&cells[0], |run| run.total_time_s).len(), 2);
        let pages = pages(&cells[0]).unwrap().drawing.into_string();
        assert!(pages.contains(">Poolferry<") && !pages.contains(">Stock QEMU<"), "{pages}");
        assert!(pages.contains("re-dirtied: 1,144"), "{pages}");
    }
}
