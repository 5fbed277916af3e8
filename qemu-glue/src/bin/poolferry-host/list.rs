//! `poolferry-host list`: the page list that a guest made.

use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use foreign::Shown;
use page_wire::{List, Medium, Run};
use serde::Serialize;

/// Checks a binary page list (`poolferry pages --format bin`) and shows it.
#[derive(Args)]
pub(crate) struct ListArgs {
    /// The list.
    file: PathBuf,
    /// Runs one by one as JSON Lines, or numbers for people.
    #[arg(long, value_enum, default_value = "summary")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// Counts and bytes by medium.
    Summary,
    /// One run a line.
    Jsonl,
}

/// A run as JSON.
#[derive(Serialize)]
struct Line<'a> {
    gpa: String,
    bytes: u64,
    medium: Shown<'a>,
    offset: u64,
}

/// Runs the command.
pub(crate) fn run(args: &ListArgs) -> Result<()> {
    let ListArgs { file, format } = args;
    let bytes =
        std::fs::read(file).with_context(|| format!("failed to read `{}`", foreign::path(file)))?;
    let list = List::parse(&bytes).with_context(|| format!("`{}`", foreign::path(file)))?;
    let media: Vec<Medium> = list.media().collect();
    let mut out = BufWriter::new(io::stdout().lock());
    let shown = match format {
        Format::Summary => summary(&list, &media, &mut out),
        Format::Jsonl => lines(&list, &media, &mut out),
    };
    match shown.and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn name(medium: &Medium) -> Shown<'_> {
    foreign::shown(medium.name())
}

fn lines(list: &List<'_>, media: &[Medium], out: &mut impl io::Write) -> io::Result<()> {
    for run in list.runs() {
        let line = Line {
            gpa: format!("{:#x}", run.gfn() << page_wire::FRAME_SHIFT),
            bytes: run.bytes(),
            medium: media.get(usize::from(run.medium())).map_or(foreign::shown(""), name),
            offset: run.unit() << page_wire::UNIT_SHIFT,
        };
        foreign::json(&mut *out, &line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn summary(list: &List<'_>, media: &[Medium], out: &mut impl io::Write) -> io::Result<()> {
    let facts = list.facts();
    let runs = list.runs().len();
    let bytes: u64 = list.runs().map(|run| run.bytes()).sum();
    let made_us = facts.done_ns.saturating_sub(facts.begun_ns) / 1000;
    match facts.page_size {
        0 => writeln!(out, "pages       {} of several sizes", facts.pages)?,
        size => writeln!(out, "pages       {} of {size} bytes", facts.pages)?,
    }
    writeln!(out, "bytes       {bytes}")?;
    writeln!(out, "runs        {runs}, {} bytes each", page_wire::RUN_BYTES)?;
    writeln!(out, "made in     {made_us} us")?;
    let highest = list.runs().map(|run| run.gfn() + u64::from(run.frames())).max().unwrap_or(0);
    writeln!(out, "highest GPA {:#x}", highest << page_wire::FRAME_SHIFT)?;
    for (index, medium) in media.iter().enumerate() {
        let mine = |run: &Run| usize::from(run.medium()) == index;
        let bytes: u64 = list.runs().filter(mine).map(|run| run.bytes()).sum();
        let kind = match medium {
            Medium::Disk(_) => "disk",
            Medium::ShareFile(_) => "file on a share",
        };
        writeln!(out, "{kind} {}: {bytes} bytes", name(medium))?;
    }
    Ok(())
}
