//! One hostile text drives every sink of this library that is not a screen.

use std::sync::Arc;

use foreign::{Text, hostile};
use symbols::profile::RuleReason;
use tokio::sync::watch;

use crate::classify::{Reason, State};
use crate::model::Snapshot;
use crate::on_disk::DiskRanges;
use crate::page_list::{ListFormat, Row, RowWriter, Summary};
use crate::viewer::made_up::MadeUp;
use crate::{openmetrics, stream};

fn snapshot() -> Arc<Snapshot> {
    let mut snapshot = MadeUp::new(100).step();
    let evil: Text = hostile::big().into();
    for text in
        [&mut snapshot.server.version, &mut snapshot.server.program, &mut snapshot.server.datadir]
    {
        text.clone_from(&evil);
    }
    snapshot.tables[0].name.clone_from(&evil);
    snapshot.notices.push(evil);
    Arc::new(snapshot)
}

async fn streamed(format: stream::Format) -> Vec<u8> {
    let (sender, snapshots) = watch::channel(snapshot());
    drop(sender);
    let mut out = Vec::new();
    stream::run(snapshots, format, &mut out).await.unwrap();
    out
}

fn row() -> Row {
    Row {
        space: Some(7),
        page: Some(3),
        block: 1,
        instance: 0,
        state: State::Free,
        eligible: false,
        reason: Some(Reason::Rule(RuleReason::Io)),
        frame_va: 0x1000,
        gpas: Vec::new(),
        file: Some(format!("=HYPERLINK(evil){}", hostile::big()).into()),
        file_offset: None,
        disk: DiskRanges::new(),
        newest_lsn: 0,
        oldest_lsn: 0,
    }
}

fn rows(format: ListFormat) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = RowWriter::new(format, &mut out).unwrap();
    writer.write(&row()).unwrap();
    writer.finish().unwrap();
    out
}

fn summary() -> Summary {
    let mut summary = Summary::new(16384);
    summary.add(&row());
    summary
}

#[tokio::test]
async fn foreign_text_is_harmless_and_bounded_in_every_sink() {
    let (mut text, mut json) = (Vec::new(), Vec::new());
    summary().write(&mut text).unwrap();
    foreign::json(&mut json, &summary()).unwrap();
    let csv = rows(ListFormat::Csv);
    assert!(csv.windows(12).any(|cell| cell == b",'=HYPERLINK"), "a formula begins a cell");
    for (sink, output) in [
        ("stream text", streamed(stream::Format::Text).await),
        ("stream jsonl", streamed(stream::Format::Jsonl).await),
        ("openmetrics", openmetrics::encode(vec![snapshot()]).unwrap().into_bytes()),
        ("pages table", rows(ListFormat::Table)),
        ("pages jsonl", rows(ListFormat::Jsonl)),
        ("pages csv", csv),
        ("pages summary", text),
        ("pages summary jsonl", json),
    ] {
        hostile::assert_harmless(sink, &output, 1 << 20);
    }
}
