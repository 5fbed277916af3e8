//! Figures over time: lines and lanes of the run that stands for its way.

use super::figure::{Figure, colour};
use crate::cell::{Comparison, Way};
use crate::chart::{Axis, Band, Colour, Form, Lane, Level, Plot, Series, Span, Spans};
use crate::units::{self, Quantity};
use migration_record::{Links, Report, Sample, Sync, approximate};

const TIME: Axis = Axis { name: "time since the command", quantity: Quantity::Seconds };

/// All of them that have data.
pub(super) fn figures(cell: &Comparison<'_>) -> Vec<Figure> {
    let mut figures = Vec::new();
    figures.extend(remaining(cell));
    figures.extend(cell.ways.iter().filter_map(|way| throughput(cell, way)));
    figures.extend(tps(cell));
    figures.extend(dirty(cell));
    figures.extend(cell.ways.iter().filter_map(skipped));
    figures.extend(cell.ways.iter().filter_map(when));
    figures
}

/// A plot over time; `None` without series.
fn plot(title: &str, y: Axis, series: Vec<Series>) -> Option<Plot> {
    let label = title.to_owned();
    let plot =
        Plot { label, x: TIME, y, series, bands: Vec::new(), levels: Vec::new(), until: 0.0 };
    (!plot.series.is_empty()).then_some(plot)
}

fn figure(plot: &Plot, caption: &'static str) -> Figure {
    Figure { title: plot.label.clone(), caption, drawing: plot.draw() }
}

/// A line; `None` without points.
fn line(name: &str, colour: Colour, form: Form, points: Vec<(f64, f64)>) -> Option<Series> {
    (!points.is_empty()).then(|| Series { name: name.to_owned(), colour, form, points })
}

/// A line for each way that has points.
fn each_way(
    cell: &Comparison<'_>,
    form: Form,
    points: impl Fn(&Report) -> Vec<(f64, f64)>,
) -> Vec<Series> {
    let of = |way: &Way<'_>| {
        line(&way.name().to_string(), colour(cell, way.mode), form, points(way.typical()?))
    };
    cell.ways.iter().filter_map(of).collect()
}

fn remaining(cell: &Comparison<'_>) -> Option<Figure> {
    let series = each_way(cell, Form::Line, |run| {
        run.samples.iter().map(|s| (s.at_s, approximate(s.remaining_bytes))).collect()
    });
    let y = Axis { name: "remaining", quantity: Quantity::Bytes };
    let caption = "What QEMU still has to send. It rises when the guest writes what was sent.";
    plot("Memory still to be sent", y, series).map(|plot| figure(&plot, caption))
}

fn dirty(cell: &Comparison<'_>) -> Option<Figure> {
    let series = each_way(cell, Form::Step, |run| {
        run.samples.iter().filter_map(|s| Some((s.at_s, s.dirty_pages_per_s?))).collect()
    });
    let y = Axis { name: "pages per second", quantity: Quantity::Count("pages") };
    let caption = "How many pages of 4 KiB the guest wrote each second, by QEMU's count.";
    plot("Pages written by the guest", y, series).map(|plot| figure(&plot, caption))
}

fn tps(cell: &Comparison<'_>) -> Option<Figure> {
    let series =
        each_way(cell, Form::Step, |run| run.tps.iter().map(|tps| (tps.at_s, tps.tps)).collect());
    let y = Axis { name: "transactions per second", quantity: Quantity::Count("transactions") };
    let mut plot = plot("Transactions per second", y, series)?;
    let band = |way: &Way<'_>| {
        let run = way.typical().filter(|run| !run.tps.is_empty() && run.total_time_s > 0.0)?;
        let (name, colour) = (format!("migrating: {}", way.name()), colour(cell, way.mode));
        Some(Band { name, colour, from: 0.0, to: run.total_time_s })
    };
    plot.bands = cell.ways.iter().filter_map(band).collect();
    let caption = "The workload in the guest before, during (shaded) and after the migration.";
    Some(figure(&plot, caption))
}

fn throughput(cell: &Comparison<'_>, way: &Way<'_>) -> Option<Figure> {
    let samples = &way.typical()?.samples;
    let link = |name, colour, of: fn(&Sample) -> u64| {
        let points = rates(samples, of);
        let moved = points.iter().any(|point| point.1 > 0.0);
        if moved { line(name, colour, Form::Step, points) } else { None }
    };
    let series = [
        link("migration link", Colour::Network, |s| s.network_bytes),
        link("storage link", Colour::Storage, |s| s.storage_bytes),
    ];
    let y = Axis { name: "throughput", quantity: Quantity::BitsPerSecond };
    let title = format!("Throughput of the links: {}", way.name());
    let mut plot = plot(&title, y, series.into_iter().flatten().collect())?;
    plot.levels = limits(cell.links);
    let longest = cell.ways.iter().filter_map(Way::typical).map(|run| run.total_time_s);
    plot.until = longest.fold(0.0, f64::max);
    let caption = "What went over each link. The limit is the speed to which it is shaped.";
    Some(figure(&plot, caption))
}

/// The speeds to which the links are shaped; one line where it is the same.
fn limits(links: Links) -> Vec<Level> {
    let level = |of: &str, bits: Option<u64>| {
        let name = format!("limit of {of}: {}", units::link(bits));
        Some(Level { name, value: approximate(bits?) })
    };
    let (network, storage) = (links.network_bits_per_s, links.storage_bits_per_s);
    let levels = if network == storage {
        vec![level("either link", network)]
    } else {
        vec![level("the migration link", network), level("the storage link", storage)]
    };
    levels.into_iter().flatten().collect()
}

/// Most points of a line of rates: finer ones would only show how often it was sampled.
const RATES: f64 = 120.0;

/// Rates in bits per second over stretches of equal length, from bytes since the beginning.
fn rates(samples: &[Sample], of: fn(&Sample) -> u64) -> Vec<(f64, f64)> {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Vec::new() };
    let stretch = (last.at_s - first.at_s) / RATES;
    let mut rates = vec![(first.at_s, 0.0)];
    let mut before = first;
    for sample in samples {
        let elapsed = sample.at_s - before.at_s;
        let is_last = std::ptr::eq(sample, last);
        if elapsed > 0.0 && (elapsed >= stretch || is_last) {
            let bytes = of(sample).saturating_sub(of(before));
            rates.push((sample.at_s, 8.0 * approximate(bytes) / elapsed));
            before = sample;
        }
    }
    // The first rate holds since the first sample.
    if let [start, first, ..] = &mut rates[..] {
        start.1 = first.1;
    }
    rates
}

fn skipped(way: &Way<'_>) -> Option<Figure> {
    let run = way.typical()?;
    let pages = |name, colour, of: fn(&Sample) -> Option<u64>| {
        let points = run.samples.iter().filter_map(|s| Some((s.at_s, approximate(of(s)?))));
        line(name, colour, Form::Line, points.collect())
    };
    let series = [
        pages("outstanding", Colour::Ours, |s| s.outstanding_pages),
        pages("installed", Colour::Storage, |s| s.installed_pages),
    ];
    let y = Axis { name: "pages", quantity: Quantity::Count("pages") };
    let title = format!("Skipped pages on their way: {}", way.name());
    let plot = plot(&title, y, series.into_iter().flatten().collect())?;
    let caption = "The switchover waits, with the VM running, until nothing is outstanding.";
    Some(figure(&plot, caption))
}

fn when(way: &Way<'_>) -> Option<Figure> {
    let run = way.typical()?;
    let mut lanes = Vec::new();
    for phase in &run.phases {
        let to = phase.end_s.unwrap_or(run.total_time_s).max(phase.begin_s);
        let name = phase.name.to_string();
        let span = Span { name: name.clone(), from: phase.begin_s, to };
        match lanes.iter_mut().find(|lane: &&mut Lane| lane.name == name) {
            Some(lane) => lane.spans.push(span),
            None => lanes.push(lane(&name, Colour::Ours, vec![span])),
        }
    }
    let syncs = |syncs: &[Sync]| -> Vec<Span> { syncs.iter().map(sync_span).collect() };
    lanes.push(lane("bitmap syncs", Colour::Network, syncs(&run.syncs)));
    let sides = [("source", &run.probes.source), ("destination", &run.probes.destination)];
    for (name, side) in sides {
        let spans = side.as_ref().map(|side| syncs(&side.syncs)).unwrap_or_default();
        lanes.push(lane(&format!("syncs, {name} probes"), Colour::Network, spans));
    }
    lanes.push(lane("VM stands still", Colour::Stock, stopped(run).into_iter().collect()));
    lanes.retain(|lane| !lane.spans.is_empty());
    if lanes.is_empty() {
        return None;
    }
    let title = format!("What happened when: {}", way.name());
    let drawing = Spans { label: title.clone(), lanes }.draw();
    let caption = "Steps of the run of median time; before zero the list was made.";
    Some(Figure { title, caption, drawing })
}

fn lane(name: &str, colour: Colour, spans: Vec<Span>) -> Lane {
    Lane { name: name.to_owned(), colour, spans }
}

fn sync_span(sync: &Sync) -> Span {
    let to = sync.begin_s + sync.duration_ms / 1000.0;
    Span { name: "bitmap sync".to_owned(), from: sync.begin_s, to }
}

/// As long as QEMU reports, from when the probes saw the stop, else up to the end. Only where QEMU reports
/// nothing it is up to the start that the probes saw: a VM that is paused after its arrival, to be
/// compared, starts later for that reason alone.
fn stopped(run: &Report) -> Option<Span> {
    let stop = run.probes.source.as_ref().and_then(|side| side.vm_stop_s);
    let start = run.probes.destination.as_ref().and_then(|side| side.vm_start_s);
    let downtime = Some(run.downtime_ms / 1000.0).filter(|downtime| *downtime > 0.0);
    let (from, to) = match (stop, downtime) {
        (Some(stop), Some(downtime)) => (stop, stop + downtime),
        (None, Some(downtime)) => (run.total_time_s - downtime, run.total_time_s),
        (Some(stop), None) => (stop, start.filter(|start| *start >= stop)?),
        (None, None) => return None,
    };
    Some(Span { name: "VM stands still".to_owned(), from, to })
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_record::{Side, Sides};

    #[test]
    fn rates_are_averages_over_stretches() {
        let at = |at_s, network_bytes| Sample { at_s, network_bytes, ..Sample::default() };
        let samples = [at(0.0, 0), at(0.001, 500), at(1.0, 1000), at(1.0, 1000), at(3.0, 5000)];
        let rates = rates(&samples, |s| s.network_bytes);
        assert_eq!(rates, [(0.0, 8000.0), (1.0, 8000.0), (3.0, 16000.0)]);
        assert!(super::rates(&[], |s| s.network_bytes).is_empty());
    }

    #[test]
    fn the_vm_stands_still_as_long_as_qemu_says() {
        let side = |vm_stop_s, vm_start_s| Some(Side { vm_stop_s, vm_start_s, ..Side::default() });
        let ends = |run: &Report| stopped(run).map(|span| (span.from, span.to));
        let mut run = Report { total_time_s: 10.0, downtime_ms: 500.0, ..Report::default() };
        assert_eq!(ends(&run), Some((9.5, 10.0)));
        run.probes = Sides { source: side(Some(9.0), None), destination: side(None, Some(30.0)) };
        assert_eq!(ends(&run), Some((9.0, 9.5)));
        run.downtime_ms = 0.0;
        assert_eq!(ends(&run), Some((9.0, 30.0)));
        run.probes.destination = side(None, Some(8.0));
        assert_eq!(ends(&run), None);
    }
}
