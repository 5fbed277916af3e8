//! The evaluation in its small form: every cell is there, and every figure in it.

use anyhow::Result;
use lab::paper::{self, Paper};
use migration_record::RESULTS;
use migration_report::HTML;
use serde_json::Value;
use tempfile::TempDir;
use test_servers::cache::Cache;

use crate::shared::{Needs, programs};

#[derive(clap::Parser)]
struct Options {
    #[command(flatten)]
    paper: Paper,
}

/// It has VMs of its own, so that `cargo xtask test` runs it beside the others.
#[test]
fn quick() -> Result<()> {
    let Some(programs) = programs("paper::quick", Needs::Poolferry) else { return Ok(()) };
    let folder = TempDir::with_prefix("paper-")?;
    let out = folder.path().to_str().unwrap_or_default();
    let Options { paper } = clap::Parser::parse_from(["paper", "--quick", "--out", out]);
    paper::run(&Cache::open()?, paper.clone(), &programs)?;
    assert!(paper.out.join(HTML).is_file());
    let results: Value = serde_json::from_slice(&std::fs::read(paper.out.join(RESULTS))?)?;
    let cells = results["cells"].as_array().cloned().unwrap_or_default();
    assert_eq!(cells.len(), 6, "two loads, three ways: {results:#}");
    for cell in &cells {
        let run = &cell["runs"][0];
        assert_eq!(run["status"], "completed", "{cell:#}");
        assert_eq!(run["differing_bytes"], 0, "{cell:#}");
        for figure in ["limit_s", "total_time_over_limit", "speedup_over_stock"] {
            assert!(cell[figure].as_f64().is_some_and(|figure| figure > 0.0), "{cell:#}");
        }
        let has_load = cell["workload"] == "rw";
        assert_eq!(run["dip"].is_object(), has_load, "{cell:#}");
    }
    Ok(())
}
