//! The JSON Lines form: the keys that programs rely on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use test_servers::{Config, Release};

use crate::agent::Agent;
use crate::lab::{on_each_mysql, warm};
use crate::listed::parse;

const ALWAYS: [&str; 12] = [
    "block",
    "disk",
    "eligible",
    "file",
    "file_offset",
    "frame_va",
    "gpas",
    "newest_lsn",
    "oldest_lsn",
    "page",
    "space",
    "state",
];

/// Whether a value has the type that its key promises.
fn has_type(key: &str, value: &Value) -> bool {
    let hex = |v: &Value| v.as_str().is_some_and(|text| text.starts_with("0x"));
    match key {
        "block" | "newest_lsn" | "oldest_lsn" => value.is_u64(),
        "eligible" => value.is_boolean(),
        "state" | "reason" => value.is_string(),
        "frame_va" => hex(value),
        // Blocks without a page have neither page nor place.
        "space" | "page" | "file_offset" => value.is_u64() || value.is_null(),
        "file" => value.is_string() || value.is_null(),
        "gpas" => value.as_array().is_some_and(|list| list.iter().all(|v| hex(v) || v.is_null())),
        "disk" => value.as_array().is_some_and(|list| list.iter().all(is_range)),
        _ => false,
    }
}

fn is_range(value: &Value) -> bool {
    value.as_object().is_some_and(|range| {
        range.keys().eq(["device", "len", "offset"])
            && range["device"].is_string()
            && range["offset"].is_u64()
            && range["len"].is_u64()
    })
}

fn every_line_has_the_keys_of_the_contract(release: Release) {
    let Some(agent) = Agent::find("every_line_has_the_keys_of_the_contract") else { return };
    let server = warm(release, Config::new().pool_mib(96));
    let pid = server.pid().to_string();
    let output = agent.run(&["pages", "--pid", &pid, "--format", "jsonl"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let (always, mut states) = (BTreeSet::from(ALWAYS), BTreeMap::<String, usize>::new());
    for line in text.lines() {
        let row: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        let keys: BTreeSet<&str> = row.keys().map(String::as_str).collect();
        let extra: Vec<_> = keys.symmetric_difference(&always).copied().collect();
        let eligible = row["eligible"] == true;
        assert_eq!(extra, if eligible { vec![] } else { vec!["reason"] }, "{line}");
        for (key, value) in &row {
            assert!(has_type(key, value), "{key}: {value} in {line}");
        }
        if eligible {
            assert_eq!(row["state"], "clean", "{line}");
            let complete = ["space", "page", "file", "file_offset"];
            assert!(complete.iter().all(|key| !row[*key].is_null()), "{line}");
            assert_eq!(row["gpas"].as_array().unwrap().len(), 4, "{line}");
        }
        *states.entry(row["state"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    println!("{states:?}");
    assert!(states["clean"] > 2000 && states["free"] > 0, "{states:?}");
    // Blocks stand in order, each once.
    assert!(
        parse(&text)
            .iter()
            .map(|row| row.block)
            .eq(0..u32::try_from(text.lines().count()).unwrap())
    );
}

on_each_mysql!(every_line_has_the_keys_of_the_contract);
