//! `poolferry-host report`: the page of migrations that were recorded.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use migration_record::RecordError;

use crate::failure::Hint;

/// Makes report.html and results.json (medians, ratios) from report.json files, and prints a summary.
#[derive(Args)]
pub(crate) struct ReportArgs {
    /// Folders in or below which report.json files lie, or such files; what can be compared comes
    /// together.
    #[arg(required_unless_present_any = ["keys", "schema"])]
    places: Vec<PathBuf>,
    /// Folder for report.html [default: the first of PLACES].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print what the keys of report.json mean, as Markdown.
    #[arg(long, conflicts_with_all = ["places", "out"])]
    keys: bool,
    /// Print the JSON Schema of report.json.
    #[arg(long, conflicts_with_all = ["places", "out", "keys"])]
    schema: bool,
}

/// Runs the command.
pub(crate) fn run(args: &ReportArgs) -> Result<()> {
    if args.keys {
        return print(&migration_record::markdown());
    }
    if args.schema {
        return print(&format!("{:#}\n", migration_record::json_schema()));
    }
    let mut records = Vec::new();
    for place in &args.places {
        for path in migration_record::find(place).map_err(explained)? {
            records.push(migration_record::read(&path).map_err(explained)?);
        }
    }
    let folder = args.out.as_deref().or(args.places.first().map(|place| folder_of(place)));
    let folder = folder.context("no folder for the page")?;
    migration_report::write_results(folder, &records).map_err(explained)?;
    let page = migration_report::write_page(folder, &records).map_err(explained)?;
    print(&format!("{}\n{}\n", migration_report::text(&records), foreign::path(&page)))
}

/// A record's own folder, or the folder itself.
fn folder_of(place: &Path) -> &Path {
    match place.parent() {
        Some(parent) if place.is_file() => parent,
        _ => place,
    }
}

fn explained(error: RecordError) -> anyhow::Error {
    let hint = Hint::new(error.hint());
    anyhow::Error::new(error).context("no report").context(hint)
}

/// A reader that has seen enough is no failure.
fn print(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
