//! `poolferry pages`: the page list.

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;

use safe_file::Output;
use userspace::frames::Frames;
use userspace::locate::Locator;
use userspace::page_list::{self, Filter, ListFormat, RowWriter, Summary};

use crate::failure::Failure;
use crate::server_args::ServerArgs;

/// Options of `poolferry pages`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// Form of the list.
    #[arg(long, value_enum, default_value = "table")]
    format: ListFormat,
    /// Counts and bytes by table, state and reason instead of the list (table or jsonl).
    #[arg(long)]
    summary: bool,
    /// Only eligible pages.
    #[arg(long)]
    eligible: bool,
    /// Only pages of this tablespace.
    #[arg(long, value_name = "ID")]
    space: Option<u32>,
    /// File to write to [default: standard output].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The file of `--output` cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("failed to write `{}`", foreign::path(path))]
struct OutputError {
    path: PathBuf,
    source: io::Error,
}

/// Options that do not go together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Conflict(&'static str);

/// Whether the list can be shown in the requested form.
fn check(args: &Args, on_terminal: bool) -> Result<(), Failure> {
    let is_bin = args.format == ListFormat::Bin;
    let refused = |what, hint: &str| Err(Failure::new(Conflict(what), Some(hint.to_owned())));
    if args.summary && (is_bin || args.format == ListFormat::Csv) {
        let what = "a summary (`--summary`) has neither the format `bin` nor `csv`";
        return refused(what, "use `--format jsonl` for programs");
    }
    if is_bin && args.output.is_none() && on_terminal {
        return refused("a binary list is not shown on a terminal", "add `-o FILE`");
    }
    Ok(())
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    check(args, io::stdout().is_terminal())?;
    let Some(path) = &args.output else { return write(args, &mut io::stdout().lock()) };
    let refused = |source| {
        let hint = "name a file in a folder where this user may write, or a device or pipe";
        Failure::new(OutputError { path: path.clone(), source }, Some(hint.to_owned()))
    };
    let mut output = Output::create(path).map_err(refused)?;
    write(args, &mut output)?;
    output.finish().map_err(refused)
}

/// The list on `out`.
fn write(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let server = args.server.server()?;
    let mut locator = Locator::of(server.target.pid, &server.profile().server.family)?;
    let (mut frames, why) = Frames::open(server.target.pid)?;
    if let Some(error) = why {
        log::info!("pagemap serves the list: {error}");
    }
    let mut out = BufWriter::with_capacity(1 << 20, out);
    let filter = Filter { eligible: args.eligible, space: args.space };
    if args.format == ListFormat::Bin && !args.summary {
        let built = page_list::build(&server, None, &mut locator, &mut frames)?;
        log::info!("{:?} by {}", built.steps, frames.name());
        built.write(&mut out)?;
        return Ok(out.flush()?);
    }
    if args.summary {
        let mut summary = Summary::new(server.pool_map.page_size);
        page_list::rows(&server, None, &mut locator, &mut frames, filter, |row| {
            summary.add(row);
            Ok(())
        })?;
        if args.format == ListFormat::Jsonl {
            foreign::json(&mut out, &summary)?;
            out.write_all(b"\n")?;
        } else {
            summary.write(&mut out)?;
        }
        return Ok(out.flush()?);
    }
    let mut writer = RowWriter::new(args.format, out)?;
    let mut is_empty = true;
    page_list::rows(&server, None, &mut locator, &mut frames, filter, |row| {
        is_empty = false;
        writer.write(row)
    })?;
    writer.finish()?;
    if let Some(space) = args.space.filter(|_| is_empty) {
        log::warn!("no page of space {space} in the pool");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn refused(line: &str, on_terminal: bool) -> String {
        let line = Line::try_parse_from(line.split(' ')).ok().unwrap();
        check(&line.args, on_terminal).err().map(|failure| failure.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_format_that_cannot_be_shown_is_refused() {
        assert!(refused("pages --format bin", true).contains("hint: add `-o FILE`"));
        assert!(refused("pages --format csv --summary", false).contains("--format jsonl"));
        assert!(refused("pages --format bin --summary", false).contains("--summary"));
        for fine in ["pages --format bin -o list.bin", "pages", "pages --summary"] {
            assert_eq!(refused(fine, true), "");
        }
        assert_eq!(refused("pages --format bin", false), "");
    }
}
