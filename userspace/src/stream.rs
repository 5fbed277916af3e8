//! Pictures as records on a byte stream, for programs and for terminals that are none.
//!
//! `jsonl` writes one object a line, told apart by `record`:
//!
//! | record | keys | when |
//! |---|---|---|
//! | `picture` | those of [`Picture`] without its cells and events | every picture |
//! | `event` | those of [`Event`] | every trace event, before the picture that brought it |
//! | `gap` | `events` | so many events are missing before the next `event` or `picture`: the ring had no room, or the reader was slow |
//!
//! `text` writes a line of figures a picture, and one for each event and notice. Text that comes
//! from the observed machine has its control characters replaced.
//!
//! A reader that closes the stream ends it; that is no error.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;

use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use crate::model::{Event, Latency, Picture};
use crate::viewer::units;

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON, one object a line.
    Jsonl,
    /// Lines for people.
    Text,
}

/// Why the stream ended before the pictures did.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// A picture cannot be put into records.
    #[error("failed to make records of a picture")]
    Encode(#[source] io::Error),
    /// The records could not be written.
    #[error("failed to write records")]
    Write(#[source] io::Error),
}

/// Writes pictures to `out` until there are no more or nobody reads them.
///
/// While the reader is slow, pictures are passed over; the newest is written next. When the future
/// is dropped, the last record may be cut short.
///
/// # Errors
/// [`StreamError`] when writing fails for another reason than a reader that is gone.
pub async fn run(
    mut pictures: watch::Receiver<Arc<Picture>>,
    format: Format,
    mut out: impl AsyncWrite + Unpin,
) -> Result<(), StreamError> {
    let mut records = Records::new(format);
    loop {
        let picture = Arc::clone(&pictures.borrow_and_update());
        let bytes = records.encode(&picture).map_err(StreamError::Encode)?;
        let written = match out.write_all(&bytes).await {
            Ok(()) => out.flush().await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(StreamError::Write(error)),
        }
        if pictures.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// Makes records of one picture after another; remembers how far the events have come.
#[derive(Debug)]
struct Records {
    format: Format,
    /// Number of the next event.
    next_event: u64,
    /// The records of the picture at hand; in memory, where writing cannot fail.
    out: Vec<u8>,
}

impl Records {
    const fn new(format: Format) -> Self {
        Self { format, next_event: 0, out: Vec::new() }
    }

    /// The records of the events that are new in this picture, then the picture's.
    fn encode(&mut self, picture: &Picture) -> io::Result<Vec<u8>> {
        match self.format {
            Format::Jsonl => self.jsonl(picture)?,
            Format::Text => self.text(picture)?,
        }
        Ok(std::mem::take(&mut self.out))
    }

    fn jsonl(&mut self, picture: &Picture) -> io::Result<()> {
        #[derive(Serialize)]
        struct Gap {
            events: u64,
        }
        let events = self.missing(picture);
        if events > 0 {
            self.json_line("gap", &Gap { events })?;
        }
        for event in &picture.events {
            self.json_line("event", event)?;
        }
        self.json_line("picture", picture)
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

    fn text(&mut self, picture: &Picture) -> io::Result<()> {
        let missing = self.missing(picture);
        if missing > 0 {
            writeln!(self.out, "event   ({missing} missing)")?;
        }
        for event in &picture.events {
            writeln!(self.out, "{}", event_line(event))?;
        }
        for notice in &picture.notices {
            writeln!(self.out, "notice  {}", notice)?;
        }
        writeln!(self.out, "{}", picture_line(picture))
    }

    /// How many events are in no picture between the last one and this: lost by the ring, dropped by the
    /// observer, or in a picture that was passed over.
    fn missing(&mut self, picture: &Picture) -> u64 {
        let missing = picture.first_event.saturating_sub(self.next_event);
        self.next_event = picture.first_event.saturating_add(picture.events.len() as u64);
        missing
    }
}

fn picture_line(picture: &Picture) -> String {
    let (totals, rates, audit) = (&picture.totals, &picture.rates, &picture.audit);
    let of_pool = units::percent(units::share(totals.eligible_bytes, totals.pool_bytes));
    let mut line = format!(
        "{:>9} pid {} | eligible {} ({of_pool}) clean {} dirty {} io {} ineligible {} other {} free {} \
         | reads {} writes {} evictions {} dirtied {} freed {}",
        units::time(picture.since_attach),
        picture.server.pid,
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
    for (name, latency) in [("queries", &picture.queries), ("commits", &picture.commits)] {
        if let Some(Latency { rate, p50_ns, p99_ns, .. }) = latency {
            let (p50, p99) = (units::nanoseconds(*p50_ns), units::nanoseconds(*p99_ns));
            line.push_str(&format!(" | {name} {} p50 {p50} p99 {p99}", units::rate(*rate)));
        }
    }
    let lost = picture.probes.iter().map(|p| p.ring_lost).fold(0, u64::saturating_add);
    line.push_str(&format!(
        " | drift {} falsely clean {} lost {lost}",
        audit.drift, audit.falsely_clean
    ));
    line
}

fn event_line(event: &Event) -> String {
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
