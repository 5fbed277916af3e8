use std::pin::Pin;
use std::task::{Context, Poll};

use serde_json::Value;

use super::*;
use crate::viewer::made_up::MadeUp;

fn snapshot(tracing: bool) -> Snapshot {
    let mut pool = MadeUp::new(3_000);
    pool.tracing = tracing;
    pool.step()
}

fn lines(records: &[u8]) -> Vec<String> {
    std::str::from_utf8(records).unwrap().lines().map(str::to_owned).collect()
}

fn kinds(lines: &[String]) -> Vec<String> {
    let kind = |line: &String| {
        let value: Value = serde_json::from_str(line).unwrap();
        value["record"].as_str().unwrap().to_owned()
    };
    lines.iter().map(kind).collect()
}

#[test]
fn a_snapshot_is_one_object_without_cells() {
    let snapshot = snapshot(false);
    let lines = lines(&Records::new(Format::Jsonl).encode(&snapshot).unwrap());
    assert_eq!(lines.len(), 1);
    let value: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(value["record"], "snapshot");
    assert_eq!(value["totals"]["clean"], snapshot.totals.clean);
    assert_eq!(value["server"]["pid"], 4711);
    assert_eq!(value["tables"].as_array().unwrap().len(), snapshot.tables.len());
    assert!(value.get("cells").is_none() && value.get("events").is_none());
}

/// Words of a line, without figures and their units.
fn words(line: &str) -> Vec<&str> {
    const UNITS: [&str; 9] = ["s", "ms", "us", "ns", "/s", "k/s", "MiB", "GiB", "%)"];
    let is_figure =
        |word: &str| word.trim_start_matches('(').starts_with(|c: char| c.is_ascii_digit());
    line.split_whitespace().filter(|word| !is_figure(word) && !UNITS.contains(word)).collect()
}

/// A reader of the README sees there what the program prints.
#[test]
fn the_sample_of_the_readme_has_the_words_of_a_line() {
    let readme = include_str!("../../README.md");
    let (_, sample) = readme.split_once("On the demo server, with `--queries`").unwrap();
    let (_, sample) = sample.split_once("```text\n").unwrap();
    let (sample, _) = sample.split_once("```").unwrap();
    let snapshot = snapshot(false);
    assert!(snapshot.queries.is_some() && snapshot.commits.is_some());
    assert_eq!(words(sample), words(&snapshot_line(&snapshot)));
}

#[test]
fn every_event_is_written_once_and_gaps_are_told() {
    let mut snapshot = snapshot(true);
    let all = std::mem::take(&mut snapshot.events);
    let mut records = Records::new(Format::Jsonl);
    let mut written = Vec::new();
    // as the observer hands them out: no event twice; the third snapshot has none, 25 are lost before the fourth
    for (first, window) in [(0, 0..10), (10, 10..15), (15, 15..15), (40, 40..43)] {
        snapshot.first_event = first;
        snapshot.events = all[window].to_vec();
        written.extend(records.encode(&snapshot).unwrap());
    }
    let lines = lines(&written);
    let mut expected = vec!["event"; 10];
    expected.push("snapshot");
    expected.extend(["event"; 5]);
    expected.extend(["snapshot", "snapshot", "gap", "event", "event", "event", "snapshot"]);
    assert_eq!(kinds(&lines), expected);
    let gap = lines.iter().find(|line| line.contains("gap")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(gap).unwrap()["events"], 25);
    let time = |line: &String| serde_json::from_str::<Value>(line).unwrap()["time_ns"].as_u64();
    let times: Vec<_> = lines.iter().filter_map(time).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "an event was repeated: {times:?}");
}

#[test]
fn text_is_lines_that_no_name_can_break() {
    let mut snapshot = snapshot(true);
    snapshot.notices.push("evil\n\u{1b}[2Jname".into());
    snapshot.audit.drift = 7;
    let events = snapshot.events.len();
    let lines = lines(&Records::new(Format::Text).encode(&snapshot).unwrap());
    assert_eq!(lines.len(), events + 2);
    assert_eq!(lines[events], "notice  evil\\n\\u{1b}[2Jname");
    let last = lines.last().unwrap();
    assert!(last.contains("drift 7") && last.contains("queries"), "{last}");
}

/// Every write fails with an error of this kind.
struct Failing(ErrorKind);

impl AsyncWrite for Failing {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(self.0.into()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_closed_reader_ends_the_stream_and_other_errors_are_errors() {
    for (kind, clean) in [(ErrorKind::BrokenPipe, true), (ErrorKind::StorageFull, false)] {
        for format in [Format::Jsonl, Format::Text] {
            let (_sender, receiver) = watch::channel(Arc::new(snapshot(false)));
            let ended = run(receiver, format, Failing(kind)).await;
            assert_eq!(ended.is_ok(), clean, "{kind} {format:?}");
        }
    }
}

#[tokio::test]
async fn the_end_of_the_snapshots_ends_the_stream() {
    let (sender, receiver) = watch::channel(Arc::new(snapshot(false)));
    drop(sender);
    let mut out = Vec::new();
    run(receiver, Format::Jsonl, &mut out).await.unwrap();
    assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
}
