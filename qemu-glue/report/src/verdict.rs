//! The figures of a cell, in sentences.

use super::cell::{Comparison, POOLFERRY, POOLFERRY_STORAGE, POOLFERRY_ZSTD, STOCK, Way};
use super::limit::Limit;
use super::units;
use migration_record::{Report, approximate};

/// The sentences; none where nothing completed.
pub(crate) fn of(cell: &Comparison<'_>) -> Vec<String> {
    let mut sentences = Vec::new();
    if let (Some(stock), Some(ours)) = (cell.way(STOCK), cell.way(POOLFERRY)) {
        sentences.extend(speed(stock, ours));
        sentences.extend(command(stock, ours));
        sentences.extend(traffic(stock, ours));
        sentences.extend(downtime(stock, ours));
        sentences.extend(limit(cell, ours));
        sentences.extend(best_other(cell, ours));
        sentences.extend(compressed(cell));
    }
    for way in &cell.ways {
        let failed = way.runs.len() - way.completed().count();
        if failed > 0 {
            sentences.push(format!(
                "{}: {failed} of {} runs did not complete.",
                way.name(),
                way.runs.len()
            ));
        }
        let wrong = way.runs.iter().filter(|run| differs(run)).count();
        if wrong > 0 {
            sentences.push(format!("{}: RAM differed in {wrong} runs. This is a bug.", way.name()));
        }
    }
    sentences
}

/// Whether the RAM of both sides was compared and differed.
pub(crate) fn differs(run: &Report) -> bool {
    run.ram_identity.is_some_and(|identity| identity.differing_bytes > 0)
}

/// What the comparisons of RAM found, in a word or two.
pub(crate) fn identity(way: &Way<'_>) -> String {
    let compared = way.runs.iter().filter(|run| run.ram_identity.is_some()).count();
    let wrong = way.runs.iter().filter(|run| differs(run)).count();
    let bytes: u64 =
        way.runs.iter().filter_map(|run| run.ram_identity).map(|i| i.compared_bytes).sum();
    match (compared, wrong) {
        (0, _) => "not compared".to_owned(),
        (_, 0) => format!("identical ({} in {compared} runs)", units::bytes(bytes)),
        _ => format!("DIFFERS in {wrong} of {compared} runs"),
    }
}

fn speed(stock: &Way<'_>, ours: &Way<'_>) -> Option<String> {
    let [ours, stock, ratio] = times(stock, ours, |run| Some(run.total_time_s))?;
    Some(format!("Poolferry took {ours} and stock QEMU {stock}: {ratio}."))
}

/// The same on the clock of whoever waits for the command.
fn command(stock: &Way<'_>, ours: &Way<'_>) -> Option<String> {
    let [ours, stock, ratio] = times(stock, ours, |run| run.command_s)?;
    Some(format!("With all that comes before QEMU's own clock it was {ours} and {stock}: {ratio}."))
}

/// Our time, that of stock QEMU, and how many times as fast or slow that is.
fn times(
    stock: &Way<'_>,
    ours: &Way<'_>,
    of: impl Fn(&Report) -> Option<f64>,
) -> Option<[String; 3]> {
    let time = |way: &Way<'_>| way.median_of(&of).filter(|time| *time > 0.0);
    let (stock, ours) = (time(stock)?, time(ours)?);
    let (ratio, word) = if ours <= stock { (stock / ours, "fast") } else { (ours / stock, "slow") };
    let ratio = format!("{} times as {word}", units::three_digits(ratio));
    let [ours, stock] = [ours, stock].map(|time| units::Quantity::Seconds.text(time));
    Some([ours, stock, ratio])
}

fn limit(cell: &Comparison<'_>, ours: &Way<'_>) -> Option<String> {
    let limit = Limit::of(cell)?;
    let ours = ours.median(|run| run.total_time_s)?;
    let times = units::three_digits(ours / limit.seconds());
    let seconds = units::Quantity::Seconds.text(limit.seconds());
    Some(format!(
        "Both links together need {seconds} for these bytes; Poolferry took {times} times as long."
    ))
}

/// How the fastest of all others did, where there are others than stock QEMU.
fn best_other(cell: &Comparison<'_>, ours: &Way<'_>) -> Option<String> {
    let time = |way: &Way<'_>| way.median(|run| run.total_time_s);
    let own = [STOCK, POOLFERRY, POOLFERRY_STORAGE, POOLFERRY_ZSTD];
    let other = |way: &&Way<'_>| !own.contains(&way.mode);
    let others = cell.ways.iter().filter(other).filter_map(|way| Some((way, time(way)?)));
    let (way, best) = others.min_by(|a, b| a.1.total_cmp(&b.1))?;
    let word = if time(ours)? <= best { "slower" } else { "faster" };
    let best = units::Quantity::Seconds.text(best);
    Some(format!("The fastest other way is {} with {best}: {word} than Poolferry.", way.name()))
}

/// What it gives to compress what goes by network.
fn compressed(cell: &Comparison<'_>) -> Option<String> {
    let way = cell.way(POOLFERRY_ZSTD)?;
    let time = units::Quantity::Seconds.text(way.median(|run| run.total_time_s)?);
    let sent = units::Quantity::Bytes.text(way.median(|run| approximate(run.network_bytes))?);
    Some(format!("With zstd on its share of the network Poolferry took {time} and sent {sent}."))
}

fn traffic(stock: &Way<'_>, ours: &Way<'_>) -> Option<String> {
    let bytes = |way: &Way<'_>| way.median(|run| approximate(run.network_bytes));
    let (stock, ours) = (bytes(stock)?, bytes(ours)?);
    if stock <= 0.0 {
        return None;
    }
    let change = 100.0 * (ours / stock - 1.0);
    let word = if change <= 0.0 { "less" } else { "more" };
    let percent = units::three_digits(change.abs());
    Some(format!("It put {percent} % {word} on the migration link."))
}

fn downtime(stock: &Way<'_>, ours: &Way<'_>) -> Option<String> {
    let time = |way: &Way<'_>| way.median(|run| run.downtime_ms);
    let (stock, ours) = (time(stock)?, time(ours)?);
    let [ours, stock] = [ours, stock].map(|time| units::Quantity::Milliseconds.text(time));
    Some(format!("The VM stood still for {ours}; with stock QEMU for {stock}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::cells;
    use migration_record::{MigrationStatus, RamIdentity};

    fn report(mode: &str, total_time_s: f64, network_bytes: u64) -> Report {
        let status = MigrationStatus::Completed;
        Report { mode: mode.into(), total_time_s, network_bytes, status, ..Report::default() }
    }

    #[test]
    fn sentences_say_who_was_faster_and_what_went_wrong() {
        let mut ours = report(POOLFERRY, 15.0, 150);
        ours.ram_identity = Some(RamIdentity { compared_bytes: 10, differing_bytes: 1 });
        let mut failed = report(POOLFERRY, 0.0, 0);
        failed.status = MigrationStatus::Failed;
        let reports = [report(STOCK, 10.0, 100), ours, failed];
        let cells = cells(&reports);
        let text = of(&cells[0]).join("\n");
        for part in ["1.5 times as slow", "50 % more", "1 of 2 runs did not", "differed in 1 runs"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(identity(cells[0].way(POOLFERRY).unwrap()), "DIFFERS in 1 of 1 runs");
        assert_eq!(identity(cells[0].way(STOCK).unwrap()), "not compared");
    }

    #[test]
    fn without_both_there_is_no_comparison() {
        let reports = [report(POOLFERRY, 1.0, 1)];
        assert!(of(&cells(&reports)[0]).is_empty());
    }
}
