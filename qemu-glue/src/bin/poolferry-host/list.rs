//! `poolferry-host list`: the page list that a guest made.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use foreign::Shown;
use page_wire::{Bounds, Device, ListReader, ReadError};
use serde::Serialize;

use crate::failure::Hint;

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
    /// Counts and bytes by device.
    Summary,
    /// One run a line.
    Jsonl,
}

/// A run as JSON.
#[derive(Serialize)]
struct Line<'a> {
    gpa: String,
    bytes: u64,
    device: Shown<'a>,
    offset: u64,
}

/// Runs the command. The file is read once, and never all in memory.
pub(crate) fn run(args: &ListArgs) -> Result<()> {
    let ListArgs { file, format } = args;
    let named = || format!("`{}`", foreign::path(file));
    let hinted = |hint: &'static str| move |error: anyhow::Error| error.context(Hint::new(hint));
    let input =
        foreign_file::open(file).map_err(anyhow::Error::from).map_err(hinted("check the path"))?;
    let mut list = ListReader::open(input, Bounds::ANY)
        .with_context(named)
        .map_err(hinted("make a list with `poolferry pages --format bin -o FILE`"))?;
    let mut out = BufWriter::new(io::stdout().lock());
    let shown = match format {
        Format::Summary => summary(&mut list, &mut out),
        Format::Jsonl => lines(&mut list, &mut out),
    };
    match shown.and_then(|()| Ok(out.flush()?)) {
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(Failure::Output(error)) => Err(error.into()),
        Err(Failure::List(error)) => Err(error).with_context(named),
        Ok(()) => Ok(()),
    }
}

fn name(device: &Device) -> Shown<'_> {
    foreign::shown(device.name())
}

enum Failure {
    Output(io::Error),
    List(ReadError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::List(error)
    }
}

fn lines(list: &mut ListReader<File>, out: &mut impl io::Write) -> Result<(), Failure> {
    let devices = list.devices().to_vec();
    while let Some(run) = list.next_run()? {
        let line = Line {
            gpa: format!("{:#x}", run.gfn() << page_number::PAGE_SHIFT),
            bytes: run.bytes(),
            device: devices.get(usize::from(run.device())).map_or(foreign::shown(""), name),
            offset: run.unit() << page_number::UNIT_SHIFT,
        };
        foreign::json(&mut *out, &line).map_err(io::Error::from)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn summary(list: &mut ListReader<File>, out: &mut impl io::Write) -> Result<(), Failure> {
    let facts = list.facts();
    let mut bytes = [0_u64; page_wire::MAX_DEVICES];
    let mut highest = 0;
    // All of it is checked before anything is printed.
    while let Some(run) = list.next_run()? {
        // 32 Mi runs of 64 GiB are less than 64 bits hold.
        bytes[usize::from(run.device()) % page_wire::MAX_DEVICES] += run.bytes();
        highest = highest.max(run.gfn() + u64::from(run.frames()));
    }
    let made_us = facts.done_ns.saturating_sub(facts.begun_ns) / 1000;
    match facts.page_size {
        0 => writeln!(out, "pages       {} of several sizes", facts.pages)?,
        size => writeln!(out, "pages       {} of {size} bytes", facts.pages)?,
    }
    writeln!(out, "bytes       {}", bytes.iter().sum::<u64>())?;
    writeln!(out, "runs        {}, {} bytes each", list.run_count(), page_wire::RUN_BYTES)?;
    writeln!(out, "made in     {made_us} us")?;
    writeln!(out, "highest GPA {:#x}", highest << page_number::PAGE_SHIFT)?;
    for (device, bytes) in list.devices().iter().zip(bytes) {
        let kind = match device {
            Device::Disk(_) => "disk",
            Device::ShareFile(_) => "file on a share",
        };
        writeln!(out, "{kind} {}: {bytes} bytes", name(device))?;
    }
    Ok(())
}
