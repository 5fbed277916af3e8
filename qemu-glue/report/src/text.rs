//! Records in a few lines of text.

use std::fmt::Write as _;

use super::cell::{self, Comparison, Way};
use super::units;
use super::verdict;
use migration_record::{Report, approximate};

/// A table for each cell, and its result in a sentence.
#[must_use]
pub fn text(reports: &[Report]) -> String {
    let mut text = String::new();
    for cell in cell::cells(reports) {
        // Writing to a String cannot fail.
        let _ = write_cell(&cell, &mut text);
    }
    text
}

fn write_cell(cell: &Comparison<'_>, text: &mut String) -> std::fmt::Result {
    if !text.is_empty() {
        text.push('\n');
    }
    writeln!(text, "{}", cell.title())?;
    writeln!(
        text,
        "  {:<12} {:>6} {:>10} {:>10} {:>11} {:>11} {:>11}  RAM compared",
        "", "runs", "total", "command", "downtime", "network", "storage"
    )?;
    for way in &cell.ways {
        write_way(way, text)?;
    }
    for sentence in verdict::of(cell) {
        writeln!(text, "  {sentence}")?;
    }
    Ok(())
}

fn write_way(way: &Way<'_>, text: &mut String) -> std::fmt::Result {
    let shown = |value: Option<f64>, quantity: units::Quantity| {
        value.map_or("-".to_owned(), |value| quantity.text(value))
    };
    let bytes = |of: fn(&Report) -> u64| {
        shown(way.median(|run| approximate(of(run))), units::Quantity::Bytes)
    };
    let runs = format!("{}/{}", way.completed().count(), way.runs.len());
    writeln!(
        text,
        "  {:<12} {runs:>6} {:>10} {:>10} {:>11} {:>11} {:>11}  {}",
        way.name(),
        shown(way.median(|run| run.total_time_s), units::Quantity::Seconds),
        shown(way.median_of(|run| run.command_s), units::Quantity::Seconds),
        shown(way.median(|run| run.downtime_ms), units::Quantity::Milliseconds),
        bytes(|run| run.network_bytes),
        bytes(|run| run.storage_bytes),
        verdict::identity(way),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::sample_reports;

    #[test]
    fn a_table_says_who_was_faster() {
        let text = text(&sample_reports());
        let line = |word: &str| text.lines().find(|line| line.contains(word)).unwrap().to_owned();
        assert!(line("Stock QEMU ").contains("20 s"), "{text}");
        assert!(line("Poolferry ").contains("10 s"), "{text}");
        assert!(text.contains("2 times as fast"), "{text}");
        assert!(text.contains("identical"), "{text}");
    }
}
