//! Snapshots as records on a byte stream, for programs and for terminals that are none.
//!
//! `jsonl` writes one object a line; the key `record` has its kind:
//!
//! | record | keys | when |
//! |---|---|---|
//! | `snapshot` | those of [`Snapshot`] without its cells and events | every snapshot |
//! | `event` | those of [`TraceEvent`] | every trace event, before the snapshot that brought it |
//! | `gap` | `events` | so many events are missing before the next `event` or `snapshot`: the ring had no room, or the reader was slow |
//!
//! `text` writes a line of figures a snapshot, and one for each event and notice. Text that comes
//! from the observed machine has its control characters replaced.
//!
//! A reader that closes the stream ends it; that is no error.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;

use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use crate::model::{Latency, Snapshot, TraceEvent};
use crate::viewer::units;

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON, one object a line.
    Jsonl,
    /// Lines for people.
    Text,
}

/// Why the stream ended before the snapshots did.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// A snapshot cannot be put into records.
    #[error("failed to make records of a snapshot")]
    Encode(#[source] io::Error),
    /// The records could not be written.
    #[error("failed to write records")]
    Write(#[source] io::Error),
}

/// Writes snapshots to `out` until there are no more or the reader is gone.
///
/// While the reader is slow, snapshots are passed over; the newest is written next. When the future
/// is dropped, the last record may be cut short.
///
/// # Errors
/// [`StreamError`] when writing fails for another reason than a reader that is gone.
pub async fn run(
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    format: Format,
    mut out: impl AsyncWrite + Unpin,
) -> Result<(), StreamError> {
    let mut records = Records::new(format);
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        let bytes = records.encode(&snapshot).map_err(StreamError::Encode)?;
        let written = match out.write_all(&bytes).await {
            Ok(()) => out.flush().await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(StreamError::Write(error)),
        }
        if snapshots.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// Makes records of one snapshot after another; remembers how far the events have come.
#[derive(Debug)]
struct Records {
    format: Format,
    /// Number of the next event.
    next_event: u64,
    /// The records of the snapshot at hand; in memory, where writing cannot fail.
    out: Vec<u8>,
}

impl Records {
    const fn new(format: Format) -> Self {
        Self { format, next_event: 0, out: Vec::new() }
    }

    /// The records of the events that are new in this snapshot, then the snapshot's.
    fn encode(&mut self, snapshot: &Snapshot) -> io::Result<Vec<u8>> {
        match self.format {
            Format::Jsonl => self.jsonl(snapshot)?,
            Format::Text => self.text(snapshot)?,
        }
        Ok(std::mem::take(&mut self.out))
    }

    fn jsonl(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        #[derive(Serialize)]
        struct Gap {
            events: u64,
        }
        let events = self.missing(snapshot);
        if events > 0 {
            self.json_line("gap", &Gap { events })?;
        }
        for event in &snapshot.events {
            self.json_line("event", event)?;
        }
        self.json_line("snapshot", snapshot)
    }

    fn json_line(&mut self, record: &'static str, body: &impl Serialize) -> io::Result<()> {
        #[derive(Serialize)]
        struct Line<'a, T> {
            record: &'static str,
            #[serde(flatten)]
            body: &'a T,
        }
        foreign::json(&mut self.out, &Line { record, body })?;
        writeln!(self.out)
    }

    fn text(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let missing = self.missing(snapshot);
        if missing > 0 {
            writeln!(self.out, "event   ({missing} missing)")?;
        }
        for event in &snapshot.events {
            writeln!(self.out, "{}", event_line(event))?;
        }
        for notice in &snapshot.notices {
            writeln!(self.out, "notice  {}", notice)?;
        }
        writeln!(self.out, "{}", snapshot_line(snapshot))
    }

    /// How many events are in no snapshot between the last one and this: lost by the ring, dropped by the
    /// observer, or in a snapshot that was passed over.
    fn missing(&mut self, snapshot: &Snapshot) -> u64 {
        let missing = snapshot.first_event.saturating_sub(self.next_event);
        self.next_event = snapshot.first_event.saturating_add(snapshot.events.len() as u64);
        missing
    }
}

fn snapshot_line(snapshot: &Snapshot) -> String {
    let (totals, rates, audit) = (&snapshot.totals, &snapshot.rates, &snapshot.audit);
    let of_pool = units::percent(units::share(totals.eligible_bytes, totals.pool_bytes));
    let mut line = format!(
        "{:>9} pid {} | eligible {} ({of_pool}) clean {} dirty {} io {} ineligible {} other {} free {} \
         | reads {} writes {} evictions {} dirtied {} freed {}",
        units::time(snapshot.since_attach),
        snapshot.server.pid,
        units::bytes(totals.eligible_bytes),
        totals.clean,
        totals.dirty,
        totals.io,
        totals.ineligible,
        totals.other,
        totals.free,
        units::rate(rates.reads),
        units::rate(rates.writes),
        units::rate(rates.evictions),
        units::rate(rates.dirtied),
        units::rate(rates.freed),
    );
    for (name, latency) in [("queries", &snapshot.queries), ("commits", &snapshot.commits)] {
        if let Some(Latency { rate, p50_ns, p99_ns, .. }) = latency {
            let (p50, p99) = (units::nanoseconds(*p50_ns), units::nanoseconds(*p99_ns));
            line.push_str(&format!(" | {name} {} p50 {p50} p99 {p99}", units::rate(*rate)));
        }
    }
    let lost = snapshot.probes.iter().map(|p| p.ring_lost).fold(0, u64::saturating_add);
    line.push_str(&format!(
        " | drift {} falsely clean {} lost {lost}",
        audit.drift, audit.falsely_clean
    ));
    line
}

fn event_line(event: &TraceEvent) -> String {
    let seconds = event.time_ns / 1_000_000_000;
    let micros = event.time_ns % 1_000_000_000 / 1_000;
    let mut line = format!("event   {seconds}.{micros:06} {} tid {}", event.probe, event.tid);
    if let Some(latency) = event.latency_ns {
        line.push_str(&format!(" took {}", units::nanoseconds(latency)));
    } else {
        line.push_str(&format!(" block {}", event.block));
        if let (Some(space), Some(page)) = (event.space, event.page) {
            line.push_str(&format!(" space {space} page {page}"));
        }
    }
    if let Some(frame) = event.pfn {
        line.push_str(&format!(" frame {frame:#x}"));
    }
    line
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
